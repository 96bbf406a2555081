import type { Route } from './router.svelte';

export const routes: Route[] = [
  { pattern: '/', load: () => import('../../pages/OverviewPage.svelte') },
  { pattern: '/devices', load: () => import('../../pages/DevicesPage.svelte') },
  { pattern: '/devices/:id', load: () => import('../../pages/DevicePage.svelte') },
  { pattern: '/rollouts', load: () => import('../../pages/RolloutsPage.svelte') },
  { pattern: '/rollouts/new', load: () => import('../../pages/NewRolloutPage.svelte') },
  { pattern: '/rollouts/:id', load: () => import('../../pages/RolloutPage.svelte') },
  { pattern: '/bundles', load: () => import('../../pages/BundlesPage.svelte') },
  { pattern: '/alerts', load: () => import('../../pages/AlertsPage.svelte') },
];
