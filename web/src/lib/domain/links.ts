/** The devices that a query finds. */
export const devicesLink = (q: string) => `/devices?q=${encodeURIComponent(q).replaceAll('%3A', ':').replaceAll('%40', '@')}`;
