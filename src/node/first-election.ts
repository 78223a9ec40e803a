/**
 * A cluster that starts need not wait for an election timeout: the lowest of the voters that hear each other stands at once.
 * Asked for a few times, since the others may still be connecting back, or a vote was lost with the connection that it came on:
 * each time after twice as long, since on a busy machine votes take their time, too.
 */
import { isVoter, quorumSize } from '../raft/configuration.ts';
import { compareIds } from '../raft/membership.ts';
import type { MemberDriver } from './membership.ts';

const firstMs = 100;
const lastMs = 6400;

export interface FirstElectionOptions {
  readonly driver: Pick<MemberDriver, 'memberId' | 'leaderId' | 'configuration' | 'connected'>;
  /** Stands, when nobody leads. */
  readonly campaign: () => void;
}

export class FirstElection {
  readonly #options: FirstElectionOptions;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FirstElectionOptions) {
    this.#options = options;
  }

  /** Somebody new is heard. */
  begin(): void {
    if (this.#options.driver.leaderId() !== undefined) return;
    if (this.#timer === undefined) this.#stand(firstMs);
    else this.#standIn(firstMs);
  }

  /** There is a leader, or the member stops. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #stand(againMs: number): void {
    const { driver, campaign } = this.#options;
    this.#timer = undefined;
    if (driver.leaderId() !== undefined) return;
    const configuration = driver.configuration();
    const there = [driver.memberId, ...driver.connected()].filter((id) => isVoter(configuration, id));
    const enough = there.length >= quorumSize(configuration.voters.length);
    if (enough && driver.memberId === there.sort(compareIds)[0]) campaign();
    if (againMs <= lastMs) this.#standIn(againMs);
  }

  #standIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#stand(2 * ms), ms);
  }
}
