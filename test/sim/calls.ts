/** What clients ask a member for, and what becomes of it. */
import {
  CompactionRequest,
  Compare_CompareResult,
  Compare_CompareTarget,
  DeleteRangeRequest,
  PutRequest,
  TxnRequest,
} from '../../src/etcd/gen/rpc.ts';
import type { KeyRecord, RangeOperation } from '../../src/mvcc/types.ts';
import { range } from '../mvcc/operations.ts';
import type { Held, Operation, Outcome } from './history.ts';
import type { Member, Running } from './member.ts';
import type { Call } from './plan.ts';
import type { World } from './world.ts';

/** Whoever gets these knows that it was not done (GR-20, Proposals.expire). */
const refusals = ['ETCD_NO_LEADER', 'ETCD_TOO_MANY_REQUESTS'];

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

const oneKey = (key: string): RangeOperation => range({ kind: 'one', key });

export function heldOf({ value, createRevision, modRevision, version }: KeyRecord): Held {
  return { value: Buffer.from(value).toString('latin1'), createRevision, modRevision, version };
}

export class Calls {
  readonly #world: World;
  #count = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Resolves with whether it was answered; never, when the member ends meanwhile. */
  async make(member: Member, call: Call, which: number): Promise<boolean> {
    const world = this.#world;
    const { running, life } = member;
    if (!running || !life) return false;
    const key = `k${which % world.climate.keys}`;
    const number = ++this.#count;
    const name = `${call} ${number} of ${key} on ${member.name}`;
    const operation = world.history.ask(name, call, key);
    return new Promise((resolve) => {
      world.clock.within(life, () => {
        this.#ask(running, operation, number, which).then(
          () => {
            world.count('answered');
            resolve(true);
          },
          (error: unknown) => {
            this.#failed(operation, error);
            resolve(false);
          },
        );
      });
    });
  }

  async #ask(running: Running, operation: Operation, number: number, which: number): Promise<void> {
    const world = this.#world;
    if (running.membership.isLearner) throw refused;
    const { key, name, call } = operation;
    const answered = (outcome: Outcome): void => {
      world.note(() => `${name} is answered at ${operation.position}`);
      world.guard(() => world.history.answered(operation, outcome));
    };
    const value = bytes(`v${number}`.padEnd(world.climate.valueBytes, '.'));
    switch (call) {
      case 'read': {
        await running.memberDriver.linearize();
        const { keyValues } = running;
        const [record] = keyValues.store.range(oneKey(key)).records;
        world.note(() => `${name} sees ${record ? `revision ${record.modRevision}` : 'nothing'}`);
        world.guard(() => world.history.read(operation, keyValues.appliedIndex, record && heldOf(record)));
        return;
      }
      case 'put': {
        const request = PutRequest.fromPartial({ key: bytes(key), value, lease: '0' });
        answered(await this.#propose(running, operation, 'put', request, PutRequest.encode(request).finish()));
        return;
      }
      case 'delete': {
        const request = DeleteRangeRequest.fromPartial({ key: bytes(key) });
        const encoded = DeleteRangeRequest.encode(request).finish();
        answered(await this.#propose(running, operation, 'deleteRange', request, encoded));
        return;
      }
      case 'txn': {
        const [record] = running.keyValues.store.range(oneKey(key)).records;
        const request = swap(key, record?.modRevision ?? 0, value, which);
        const { revision, succeeded } = await this.#propose(
          running,
          operation,
          'txn',
          request,
          TxnRequest.encode(request).finish(),
        );
        answered({ revision, succeeded });
        return;
      }
      case 'compact': {
        const revision = Math.max(1, running.keyValues.revision - (which % 10));
        const request = CompactionRequest.fromPartial({ revision });
        const encoded = CompactionRequest.encode(request).finish();
        await this.#propose(running, operation, 'compact', request, encoded);
        world.guard(() => world.history.answered(operation, { revision: 0 }));
        return;
      }
    }
  }

  #propose<K extends 'put' | 'deleteRange' | 'txn' | 'compact'>(
    { keyValues, memberDriver }: Running,
    operation: Operation,
    kind: K,
    request: Parameters<typeof keyValues.propose<K>>[2],
    encoded: Uint8Array,
  ) {
    const driver = {
      propose: (...[data, lost, awaited]: Parameters<typeof memberDriver.propose>) => {
        this.#world.history.tag(operation, data);
        memberDriver.propose(data, lost, awaited);
      },
    };
    return keyValues.propose<K>(driver, kind, request, encoded);
  }

  #failed(operation: Operation, error: unknown): void {
    const world = this.#world;
    const code = codeOf(error);
    if (code === undefined) throw error;
    const isRefused = refusals.includes(code);
    world.note(() => `${operation.name} ${isRefused ? 'is refused' : 'has no known outcome'} (${code})`);
    world.count(isRefused ? 'refused' : 'unknown');
    if (isRefused && operation.call !== 'read') world.guard(() => world.history.refused(operation));
    else operation.state = 'unknown';
  }
}

const refused = Object.assign(new Error('a learner serves nothing'), { code: 'ETCD_NO_LEADER' });

/** The product's errors have one; what has none is a mistake in the product. */
export const codeOf = (error: unknown): string | undefined =>
  typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : undefined;

/** If nobody was faster the new value, else the end of the key. */
function swap(key: string, modRevision: number, value: Uint8Array, which: number): TxnRequest {
  const put = {
    request: { $case: 'requestPut', value: PutRequest.fromPartial({ key: bytes(key), value, lease: '0' }) },
  } as const;
  const remove = {
    request: { $case: 'requestDeleteRange', value: DeleteRangeRequest.fromPartial({ key: bytes(key) }) },
  } as const;
  return {
    compare: [
      {
        result: Compare_CompareResult.EQUAL,
        target: Compare_CompareTarget.MOD,
        key: bytes(key),
        targetUnion: { $case: 'modRevision', value: modRevision },
        rangeEnd: new Uint8Array(0),
      },
    ],
    success: [put],
    failure: which % 2 === 0 ? [remove] : [],
  };
}
