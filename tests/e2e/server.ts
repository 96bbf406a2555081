import { expect, type LaunchOptions, type Page } from '@playwright/test';

function needed(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; a running Muster is needed: MUSTER_URL, MUSTER_USER and MUSTER_PASSWORD`);
  return value;
}

/** The server under test. A one-time password needs MUSTER_NEW_PASSWORD beside it. */
export const server = {
  url: needed('MUSTER_URL').replace(/\/$/, ''),
  user: needed('MUSTER_USER'),
  password: needed('MUSTER_PASSWORD'),
  newPassword: process.env.MUSTER_NEW_PASSWORD,
};

/**
 * Debian's Chromium. The server's CA is private: the flag makes that hold for the shared worker too, which
 * ignoreHTTPSErrors does not reach. No name but the server's is resolved, so nothing outside can answer.
 */
export const browser: LaunchOptions = {
  executablePath: process.env.MUSTER_CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--ignore-certificate-errors',
    `--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE ${new URL(server.url).hostname}`,
  ],
};

/** Fills in the login page that is open, changes a one-time password, and waits until the console is there. */
export async function logIn(page: Page) {
  await page.getByLabel('User', { exact: true }).fill(server.user);
  await page.getByLabel('Password', { exact: true }).fill(server.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  const inside = page.getByRole('navigation', { name: 'Main' });
  const change = page.getByLabel('New password', { exact: true });
  await expect(inside.or(change)).toBeVisible();
  if (await change.isVisible()) {
    if (!server.newPassword) throw new Error('the password works once: set MUSTER_NEW_PASSWORD');
    await change.fill(server.newPassword);
    await page.getByLabel('New password again').fill(server.newPassword);
    await page.getByRole('button', { name: 'Save and log in' }).click();
    server.password = server.newPassword;
  }
  await expect(inside).toBeVisible();
}
