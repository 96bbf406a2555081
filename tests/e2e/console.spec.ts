import AxeBuilder from '@axe-core/playwright';
import { expect, test, type BrowserContext, type Page } from '@playwright/test';
import { logIn, server } from './server';

/*
 * One person's day at the console of a real server with a live fleet: at least one device online, one firing alert, one
 * bundle and one rollout. Every test fails on console errors, CSP violations and requests to anywhere else.
 */

test.describe.configure({ mode: 'serial' });

let context: BrowserContext;
let page: Page;
let complaints: string[] = [];
/** Answers that a test asks for on purpose: the browser writes each to its console. */
let expected: RegExp[] = [];

function watch(watched: Page) {
  watched.on('console', (message) => {
    if (message.type() !== 'error') return;
    const text = `${message.text()} ${message.location().url}`;
    if (!expected.some((pattern) => pattern.test(text))) complaints.push(`console: ${text}`);
  });
  watched.on('pageerror', (error) => complaints.push(`exception: ${error.message}`));
}

test.beforeAll(async ({ browser }) => {
  context = await browser.newContext();
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      console.error('CSP violation', event.violatedDirective, event.blockedURI, event.sourceFile, event.lineNumber);
    });
  });
  context.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== 'data:' && protocol !== 'blob:' && origin !== new URL(server.url).origin) complaints.push(`request to ${request.url()}`);
  });
  page = await context.newPage();
  watch(page);
});

test.beforeEach(() => {
  complaints = [];
  expected = [];
});

test.afterEach(() => {
  expect(complaints).toEqual([]);
});

test.afterAll(async () => {
  await context.close();
});

const heading = (name: string | RegExp) => page.getByRole('heading', { level: 1, name });

/** No accessibility violation, in light and in dark. */
async function expectAccessible() {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await new AxeBuilder({ page }).analyze();
    const found = violations.map(({ id, help, nodes }) => `${colorScheme}: ${id}: ${help}: ${nodes.map((node) => node.target.join(' ')).join('; ')}`);
    expect(found).toEqual([]);
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

/** By a link of the main navigation, as a person goes. */
async function goTo(name: string) {
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name }).click();
  await expect(heading(name)).toBeVisible();
}

/** The rows of the table in the panel of that name. */
const rowsOf = (panel: string) => page.getByRole('region', { name: panel, exact: true }).locator('tbody tr');

test('a wrong password is refused in words', async () => {
  expected = [/401.*\/api\/v1\/(me|session)$/];
  await page.goto('/');
  await expect(heading('Log in to Muster')).toBeVisible();
  await page.getByLabel('User', { exact: true }).fill(server.user);
  await page.getByLabel('Password', { exact: true }).fill('not the password');
  await page.getByRole('button', { name: 'Log in' }).click();
  await expect(page.getByRole('alert')).toContainText(/\w+/);
  await expectAccessible();
});

test('a login leads back to the page that was asked for', async () => {
  expected = [/401.*\/api\/v1\/me$/, /403.*\/api\/v1\/session$/];
  await page.goto('/devices?q=status:healthy');
  await logIn(page);
  await expect(heading('Devices')).toBeVisible();
  expect(new URL(page.url()).pathname + new URL(page.url()).search).toBe('/devices?q=status:healthy');
  await expect(page.getByRole('textbox', { name: 'Find devices' })).toHaveValue('status:healthy');
});

test('the overview counts what the lists show', async () => {
  await goTo('Overview');
  await expect(page.getByText('Live', { exact: true })).toBeVisible();
  await expect(page.getByRole('region', { name: 'Needs you' }).getByRole('listitem').first()).toBeVisible();
  await expectAccessible();
  const sites = page.getByRole('region', { name: 'Sites' }).getByRole('row').nth(1);
  const site = await sites.getByRole('link').first().innerText();
  const count = Number(await sites.getByRole('cell').last().innerText());
  await sites.getByRole('link', { name: site, exact: true }).click();
  await expect(heading('Devices')).toBeVisible();
  await expect(rowsOf('Devices')).toHaveCount(count);
});

test('devices are live', async () => {
  await page.goto('/devices');
  const rows = rowsOf('Devices');
  await expect(rows.first()).toBeVisible();
  await expectAccessible();
  const asOf = page.getByText(/devices? .*as of/);
  const before = await asOf.innerText();
  await expect(asOf).not.toHaveText(before);
  await expect(rows.getByText(/^[0-9]{1,2} s ago$/).first()).toBeVisible();
  await expect(page.getByText('Live', { exact: true })).toBeVisible();
});

test('a query that is wrong is underlined where it is wrong', async () => {
  expected = [/400.*\/api\/v1\/devices/];
  await page.goto('/devices');
  const box = page.getByRole('textbox', { name: 'Find devices' });
  await box.fill('status:healthy colour:blue');
  await expect(box).toHaveAttribute('aria-invalid', 'true');
  await expect(page.locator('mark')).toContainText('colour');
  await expectAccessible();
  await box.fill('-status:updating');
  await expect(page.locator('mark')).toHaveCount(0);
  await expect(page).toHaveURL(/q=-status/);
  await page.goBack();
});

test('a device says how it is, and why', async () => {
  await page.goto('/devices?q=liveness:online');
  const link = rowsOf('Devices').first().getByRole('link').first();
  const name = await link.innerText();
  await link.click();
  await expect(heading(name)).toBeVisible();
  for (const chart of ['Latency', 'Inference rate', 'Temperatures', 'CPU']) {
    await expect(page.getByRole('img', { name: `${chart}, last values` }).locator('canvas')).toBeVisible();
  }
  await expectAccessible();

  const tabs = page.getByRole('navigation', { name: 'Device' });
  await tabs.getByRole('link', { name: 'Models' }).click();
  await expect(page.getByText('Previous, kept for a rollback').first()).toBeVisible();
  await expectAccessible();
  await tabs.getByRole('link', { name: 'Drift' }).click();
  await expect(page.getByRole('columnheader', { name: 'PSI' })).toBeVisible();
  await expectAccessible();
  await tabs.getByRole('link', { name: 'Events' }).click();
  await expect(page.getByRole('region', { name: 'Events' }).getByRole('listitem').first()).toBeVisible();
  await expectAccessible();
  await page.goBack();
  await expect(page.getByRole('columnheader', { name: 'PSI' })).toBeVisible();
});

test('a device is held with a reason, and released', async () => {
  await page.goto('/devices?q=liveness:online');
  await rowsOf('Devices').first().getByRole('link').first().click();
  await page.getByRole('button', { name: 'Hold', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog.getByRole('button', { name: 'Hold', exact: true })).toBeDisabled();
  await expectAccessible();
  await dialog.getByLabel('Why is it held?').fill('browser test');
  await dialog.getByRole('button', { name: 'Hold', exact: true }).click();
  await expect(dialog).toBeHidden();
  await expect(page.getByText(/Held by .*: browser test/)).toBeVisible();
  await expect(page.getByRole('button', { name: 'Hold', exact: true })).toHaveAttribute('aria-disabled', 'true');

  await page.getByRole('button', { name: 'Release' }).click();
  await expect(dialog).toContainText('browser test');
  await dialog.getByRole('button', { name: 'Release' }).click();
  await expect(page.getByText(/Held by .*: browser test/)).toBeHidden();
});

test('a rollout shows its waves, and why a control cannot be used', async () => {
  await goTo('Rollouts');
  await expectAccessible();
  await rowsOf('Rollouts').first().getByRole('link').first().click();
  await expect(page.getByRole('list', { name: 'Waves' }).getByRole('heading', { name: 'Wave 1' })).toBeVisible();
  await expect(page.getByRole('region', { name: 'Timeline' }).getByRole('listitem').first()).toBeVisible();
  await expect(rowsOf('Devices').first()).toBeVisible();
  await expectAccessible();
  const off = page.getByRole('group', { name: 'Controls of the rollout' }).locator('button[aria-disabled=true]').first();
  await off.hover();
  await expect(page.getByRole('tooltip').filter({ visible: true })).toContainText(/\w+/);
});

test('a new rollout asks where, and shows its plan before it starts', async () => {
  await page.goto('/rollouts/new');
  const plan = page.getByRole('complementary', { name: 'The plan' });
  const start = plan.getByRole('button', { name: /^Start/ });
  await page.getByLabel('Bundle').selectOption({ index: 1 });
  await expect(plan).toContainText('Say which devices');
  await expect(page.getByRole('radio', { checked: true })).toHaveCount(0);
  await expect(start).toBeDisabled();
  await page.getByRole('radio', { name: 'The devices that a query finds' }).check();
  await expect(plan).toContainText('An empty one never means every device');
  await page.getByRole('textbox', { name: 'Query' }).fill('name:*');
  await expect(plan).toContainText(/[0-9]+ devices? to /);
  await expectAccessible();
});

test('bundles show who signed them', async () => {
  await goTo('Bundles');
  await expect(rowsOf('Bundles').first().locator('td').nth(2)).toContainText(/[0-9A-Fa-f]{16}/);
  await page.getByRole('link', { name: /^Manifest of/ }).first().click();
  await expect(page.getByRole('region', { name: 'Manifest' })).toContainText('sha256');
  await expectAccessible();
});

test('an alert is seen, and acknowledged with a note', async () => {
  await goTo('Alerts');
  const alert = page.getByRole('article').first();
  await expect(alert).toBeVisible();
  await expectAccessible();
  const acknowledge = page.getByRole('button', { name: /^Acknowledge/ }).first();
  if (await acknowledge.isVisible()) {
    await acknowledge.click();
    await page.getByRole('dialog').getByLabel('Note for the others').fill('seen by the browser test');
    await page.getByRole('dialog').getByRole('button', { name: 'Acknowledge' }).click();
  }
  await expect(page.getByText(/^Acknowledged by .*: seen by the browser test$/).first()).toBeVisible();
});

test('what is not there is said', async () => {
  await page.goto('/nowhere');
  await expect(page.getByText('There is no page here')).toBeVisible();
  await expectAccessible();
  expected = [/404.*\/api\/v1\/devices\/nobody/];
  await page.goto('/devices/nobody');
  await expect(page.getByText('There is no such device')).toBeVisible();
  await page.goto('/');
  await expect(heading('Overview')).toBeVisible();
});

test('colours and time zone are the person’s choice, and stay', async () => {
  await page.goto('/devices');
  await page.getByRole('button', { name: 'Use dark colours' }).click();
  await page.getByRole('button', { name: 'Show times in UTC' }).click();
  await page.reload();
  await expect(page.getByRole('button', { name: 'Use light colours' })).toBeVisible();
  await expect(page.getByRole('button', { name: 'Show times in local time' })).toBeVisible();
  await page.getByRole('button', { name: 'Use light colours' }).click();
  await page.getByRole('button', { name: 'Show times in local time' }).click();
});

test('eight tabs are live at once, and all of them are logged out together', async () => {
  expected = [/401.*\/api\/v1\//];
  const tabs = [];
  for (let i = 0; i < 7; i++) {
    const tab = await context.newPage();
    watch(tab);
    await tab.goto('/devices');
    tabs.push(tab);
  }
  for (const tab of tabs) await expect(tab.getByText('Live', { exact: true })).toBeVisible();

  await page.bringToFront();
  await page.getByRole('button', { name: /^User menu/ }).click();
  await expectAccessible();
  await page.getByRole('button', { name: 'Log out' }).click();
  for (const tab of [page, ...tabs]) await expect(tab.getByRole('heading', { name: 'Log in to Muster' })).toBeVisible();
  expect((await page.request.get('/api/v1/fleet')).status()).toBe(401);
});
