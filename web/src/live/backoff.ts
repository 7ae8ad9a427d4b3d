/**
 * Full-jitter exponential backoff: a delay drawn evenly from zero to a ceiling that doubles with every failure.
 * Source: Brooker, "Exponential Backoff And Jitter" (2015).
 *
 * @param failures failures in a row, 1 or more
 * @param random   a number in [0, 1)
 * @returns milliseconds
 */
export function backoffMs(failures: number, random: number, firstMs = 500, capMs = 30_000): number {
  const ceiling = Math.min(capMs, firstMs * 2 ** Math.max(0, failures - 1));
  return Math.floor(random * ceiling);
}
