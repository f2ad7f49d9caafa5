import { constants } from "node:os";
import { KernelError } from "../base/errors.js";

/** errno values (asm-generic; the same on x86-64 and arm64) that this folder tests for by name. */
export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const EINTR = 4;
export const EAGAIN = 11;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const EMSGSIZE = 90;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ENOBUFS = 105;

const names = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) if (!names.has(value)) names.set(value, name);
// Missing in Node's table, or aliased there to a less usual name.
for (const [value, name] of [
  [EAGAIN, "EAGAIN"],
  [EOPNOTSUPP, "EOPNOTSUPP"],
  [15, "ENOTBLK"],
  [49, "EUNATCH"],
  [64, "ENONET"],
  [117, "EUCLEAN"],
  [112, "EHOSTDOWN"],
  [524, "ENOTSUPP"],
] as const)
  names.set(value, name);

/** 17 → "EEXIST"; an unknown number becomes "E<number>". */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`;
}

/** `errno` is positive, as the kernel's man pages number it. */
export function kernelError(operation: string, errno: number, extAck?: string): KernelError {
  return new KernelError(operation, errno, errnoName(errno), extAck);
}
