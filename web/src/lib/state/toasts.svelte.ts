import { toProblem } from '$lib/api/problem';

export interface Toast {
  id: number;
  tone: 'good' | 'bad';
  text: string;
  hint?: string | undefined;
}

const SHOWN = 6_000;
let next = 1;
let list = $state<Toast[]>([]);

function add(toast: Omit<Toast, 'id'>) {
  const id = next++;
  list = [...list.slice(-3), { id, ...toast }];
  setTimeout(() => toasts.dismiss(id), toast.tone === 'bad' ? SHOWN * 2 : SHOWN);
}

export const toasts = {
  get list() {
    return list;
  },
  done(text: string) {
    add({ tone: 'good', text });
  },
  failed(error: unknown) {
    const problem = toProblem(error);
    add({ tone: 'bad', text: problem.detail || problem.title, hint: problem.next });
  },
  dismiss(id: number) {
    list = list.filter((toast) => toast.id !== id);
  },
};
