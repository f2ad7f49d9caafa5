/** A small generator (xorshift) of numbers from 0 to 1: the same in every run with the same seed. */
export function generator(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32;
  };
}
