/** A promise that was broken. The same promise broken in another run reads alike but for names and numbers. */
export class Violation extends Error {
  override readonly name = 'Violation';

  /** What kind of violation this is. */
  get kind(): string {
    return kindOf(this.message);
  }
}

export const kindOf = (message: string): string => message.replaceAll(/"[^"]*"|\d+/g, '#');
