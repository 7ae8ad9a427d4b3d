/**
 * Lets a readable number of posts through when more arrive than anybody can read, and says how many it left out.
 * What it leaves out is in the database and in every count; only this list skips it.
 */
export class Sampler<T> {
  #offered = 0;
  #pending: T[] = [];

  constructor(private readonly perRelease: number) {}

  offer(items: readonly T[]): void {
    this.#offered += items.length;
    this.#pending.push(...items);
    // The newest are kept: a stream that shows old posts while new ones pile up is not live.
    if (this.#pending.length > this.perRelease) {
      this.#pending.splice(0, this.#pending.length - this.perRelease);
    }
  }

  /** Forget what was deleted before it was shown. */
  withdraw(gone: (item: T) => boolean): void {
    this.#pending = this.#pending.filter((item) => !gone(item));
  }

  /** What to show now, and of how many it is the sample. */
  take(): { items: T[]; of: number } {
    const taken = { items: this.#pending, of: this.#offered };
    this.#pending = [];
    this.#offered = 0;
    return taken;
  }
}
