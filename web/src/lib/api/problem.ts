import type { Problem } from './types';

/** What a failed request throws: the server's problem document, or one made here when no server answered. */
export class ApiError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.name = 'ApiError';
    this.problem = problem;
  }

  get status(): number {
    return this.problem.status;
  }

  get code(): string {
    return this.problem.code;
  }

  /** The message for one field of the request, if the server named it. */
  field(name: string) {
    return this.problem.field_errors?.find((error) => error.field === name);
  }
}

/** Answers of 4xx that pass by themselves: too slow, too many. */
const PASSING = [408, 429];

/** The same request would get the same answer: an error of the request, not of the moment. */
export const isFinal = (error: unknown): boolean =>
  error instanceof ApiError && error.status >= 400 && error.status < 500 && !PASSING.includes(error.status);

/** Makes a problem of anything that was thrown, so that every error is shown the same way. */
export function toProblem(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  if (error instanceof TypeError) return unreachable();
  const detail = error instanceof Error ? error.message : String(error);
  return { type: 'about:blank', title: 'The console failed', status: 0, code: 'console_error', detail, request_id: '' };
}

/** No answer came at all. */
function unreachable(): Problem {
  return {
    type: 'about:blank',
    title: 'The server cannot be reached',
    status: 0,
    code: 'unreachable',
    detail: 'No answer came from the server.',
    next: 'Check the network and that musterd is running. The console goes on by itself once it is back.',
    request_id: '',
  };
}

/** An answer that is not a problem document: a proxy's page, for example. */
export function foreignProblem(status: number, statusText: string): Problem {
  return {
    type: 'about:blank',
    title: `Unexpected answer ${status}${statusText ? ` ${statusText}` : ''}`,
    status,
    code: 'foreign_answer',
    detail: 'Something between this browser and musterd answered in its place.',
    next: 'Check the proxy in front of musterd, then try again.',
    request_id: '',
  };
}
