/**
 * Detects that space runs out before a write is taken (RS-24): what would make the state larger than the quota, or comes while an
 * alarm stands, never reaches the log. Reads, deletes, compaction and changes of members go on.
 */
import { etcdError } from '../etcd/errors.ts';
import type { PutRequest, RequestOp, TxnRequest } from '../etcd/gen/rpc.ts';
import type { Log } from '../log.ts';
import type { KeyValues } from './kv.ts';
import type { MemberDriver } from './membership.ts';

/** etcd's. */
export const defaultQuotaBytes = 2 * 1024 ** 3;
/** etcd suggests no more. */
export const suggestedQuotaBytes = 8 * 1024 ** 3;
/** etcd's estimate of what a key costs beside its name and value. */
const keyOverheadBytes = 256;

export interface QuotaOptions {
  /** Of the state, history included; negative: no quota. */
  readonly bytes: number;
  readonly keyValues: KeyValues;
  readonly driver: Pick<MemberDriver, 'memberId' | 'propose' | 'linearize'>;
  /** This member's log waits for room on its disk. */
  readonly isStuck: () => boolean;
  readonly log: Log;
}

export class Quota {
  readonly #options: QuotaOptions;
  #raising: Promise<void> | undefined;

  constructor(options: QuotaOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#options.bytes;
  }

  /** What this member raises an alarm for, whether or not it can tell the others. */
  get isStuck(): boolean {
    return this.#options.isStuck();
  }

  /**
   * Undefined when a write that makes the state larger by `cost` may be proposed at once, which costs it nothing. Else resolves
   * when it may after all, and rejects with `ETCD_NO_SPACE`, once the alarm stands, when it may not.
   */
  admit(cost: number): Promise<void> | undefined {
    return this.#admits(cost) ? undefined : this.#lookAgain(cost);
  }

  #admits(cost: number): boolean {
    if (cost === 0) return true;
    const { bytes, keyValues } = this.#options;
    return !this.isStuck && !keyValues.alarms.areRaised && (bytes < 0 || keyValues.sizeBytes + cost < bytes);
  }

  /** Elsewhere an alarm may have been disarmed, or keys deleted, that this member has not applied yet. */
  async #lookAgain(cost: number): Promise<void> {
    const { driver, keyValues } = this.#options;
    // Nothing would be heard of the write, nor of the leader's answer, before there is room.
    if (this.isStuck) throw etcdError('ETCD_NO_SPACE');
    await driver.linearize();
    if (this.#admits(cost)) return;
    if (!keyValues.alarms.areRaised) await this.#raise();
    throw etcdError('ETCD_NO_SPACE');
  }

  #raise(): Promise<void> {
    const { driver, keyValues, bytes, log } = this.#options;
    this.#raising ??= keyValues
      .alarm(driver, { type: 'raise', memberId: driver.memberId, cause: 'quota' })
      .then(
        () => {},
        (error: unknown) => log.warn('could not raise the alarm of the quota', { quotaBytes: bytes, error }),
      )
      .finally(() => {
        this.#raising = undefined;
      });
    return this.#raising;
  }
}

export const putCost = ({ key, value }: PutRequest): number => keyOverheadBytes + key.length + value.length;

/** Of the costlier branch. 0: nothing in it makes the state larger. */
export function txnCost({ success, failure }: TxnRequest): number {
  return Math.max(costOf(success), costOf(failure));
}

const costOf = (operations: readonly RequestOp[]): number =>
  operations.reduce((sum, one) => sum + operationCost(one), 0);

/** A transaction within counts as well; etcd overlooks it. */
function operationCost({ request }: RequestOp): number {
  switch (request?.$case) {
    case 'requestPut':
      return putCost(request.value);
    case 'requestTxn':
      return txnCost(request.value);
    case 'requestRange':
    case 'requestDeleteRange':
    case undefined:
      return 0;
  }
}
