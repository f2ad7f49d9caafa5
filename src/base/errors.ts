import type { Result } from "./result.js";

/**
 * What the user is told when a request cannot be done; `status` is the HTTP status that Docker gives in this case.
 * Returned by pure code. `RefusalError` carries it through async code up to the API, which turns it into `{"message": …}`.
 */
export interface Refusal {
  readonly status: number;
  readonly message: string;
  /** The field of the request at fault, where there is one. */
  readonly field?: string;
}

export function refusal(status: number, message: string, field?: string): Refusal {
  return field === undefined ? { status, message } : { status, message, field };
}

/** A refusal as an exception: for async code that would otherwise thread a Result through every await. */
export class RefusalError extends Error {
  readonly refusal: Refusal;
  constructor(r: Refusal) {
    super(r.message);
    this.name = "RefusalError";
    this.refusal = r;
  }
  get status(): number {
    return this.refusal.status;
  }
}

/** Throws a RefusalError: `refuse(404, "No such container: x")`. */
export function refuse(status: number, message: string, field?: string): never {
  throw new RefusalError(refusal(status, message, field));
}

/** What whatever was thrown says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The value of a result, or its refusal thrown. */
export function orRefuse<T>(result: Result<T, Refusal>): T {
  if (!result.ok) throw new RefusalError(result.error);
  return result.value;
}

/**
 * The kernel said no. Thrown in kernel/ only.
 * `operation` names what was asked in iproute2's words ("link add veth1a2b3c4"); `errno` is positive; `extAck` is the kernel's own sentence, if any.
 */
export class KernelError extends Error {
  readonly operation: string;
  readonly errno: number;
  readonly code: string;
  readonly extAck: string | undefined;
  constructor(operation: string, errno: number, code: string, extAck?: string) {
    super(`${operation}: ${code}${extAck ? `: ${extAck}` : ""}`);
    this.name = "KernelError";
    this.operation = operation;
    this.errno = errno;
    this.code = code;
    this.extAck = extAck;
  }
}
