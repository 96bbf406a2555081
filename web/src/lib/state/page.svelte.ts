/** What the top bar shows of the page below it. */
export interface PageTitle {
  title: string;
  crumbs: { label: string; href: string }[];
}

let current = $state.raw<PageTitle>({ title: '', crumbs: [] });

export const page = {
  get current() {
    return current;
  },
};

/** Called once by every page, with a function so that the title may follow its data. */
export function setPage(read: () => { title: string; crumbs?: PageTitle['crumbs'] }) {
  $effect.pre(() => {
    const { title, crumbs = [] } = read();
    current = { title, crumbs };
    document.title = `${title} · Muster`;
  });
}
