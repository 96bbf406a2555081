import { join } from 'node:path';
import { expect, test, type Page } from '@playwright/test';
import { logIn } from './server';

/* Not a test: takes docs/img/*.png from a running Muster with a fleet. `npm run screenshots` in web/. */

const file = (name: string) => join(test.info().project.testDir, '../../docs/img', `${name}.png`);

async function take(page: Page, name: string) {
  await expect(page.getByText('Live', { exact: true })).toBeVisible();
  await expect(page.locator('.skeleton')).toHaveCount(0);
  await page.mouse.move(0, 0);
  await page.screenshot({ path: file(name), animations: 'disabled' });
}

/** The first device with charts in it: one that is online, and not the calmest one if there is a choice. */
async function openDevice(page: Page) {
  for (const q of ['status:degraded liveness:online', 'liveness:online']) {
    await page.goto(`/devices?q=${encodeURIComponent(q)}`);
    const panel = page.getByRole('region', { name: 'Devices', exact: true });
    await expect(panel.getByText(/No device matches/).or(panel.locator('tbody tr').first())).toBeVisible();
    const link = panel.locator('tbody tr').first().getByRole('link').first();
    if (!(await link.isVisible())) continue;
    await link.click();
    await expect(page.locator('.plot canvas')).toHaveCount(4);
    return;
  }
  throw new Error('no device is online');
}

test('pictures for the documentation', async ({ page }) => {
  await page.goto('/');
  await logIn(page);
  await expect(page.getByRole('region', { name: 'Sites' }).getByRole('row').nth(1)).toBeVisible();
  await take(page, 'overview');
  await page.goto('/devices');
  await expect(page.locator('tbody tr').first()).toBeVisible();
  await take(page, 'devices');
  await openDevice(page);
  await take(page, 'device');
  await page.goto('/rollouts');
  await page.locator('tbody tr').first().getByRole('link').first().click();
  await expect(page.getByRole('list', { name: 'Waves' })).toBeVisible();
  await expect(page.getByRole('region', { name: 'Timeline' }).getByRole('listitem').first()).toBeVisible();
  await take(page, 'rollout');
  await page.goto('/alerts');
  await expect(page.getByRole('article').first()).toBeVisible();
  await take(page, 'alerts');
});
