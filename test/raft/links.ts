/** Which member hears which in a simulated world; each direction is a link of its own. */
interface End {
  readonly id: string;
}

export class Links {
  /** `a>b`: what a sends to b is lost. */
  #cut = new Set<string>();

  cutOneWay(from: End, to: End): void {
    this.#cut.add(`${from.id}>${to.id}`);
  }

  cut(one: End, other: End): void {
    this.cutOneWay(one, other);
    this.cutOneWay(other, one);
  }

  isolate(one: End, all: Iterable<End>): void {
    for (const other of all) this.cut(one, other);
  }

  /** A leader loses the members one by one: whom it lost first may stand while the others still think of it. */
  besiege(leader: End, other: End, all: Iterable<End>): void {
    if (this.loses(leader.id, other.id)) this.isolate(leader, all);
    else this.cut(leader, other);
  }

  mend(): void {
    this.#cut.clear();
  }

  loses(from: string, to: string): boolean {
    return this.#cut.has(`${from}>${to}`);
  }
}
