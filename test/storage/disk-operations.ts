/** What a disk is asked for, what it does about it, and how that fails. */
import type { Change, Node, Write } from './disk-image.ts';

export type Operation =
  | Change
  | Write
  /** `only`: the write at this place in the journal; otherwise all of the file's. `failed`: it dooms them. */
  | { readonly type: 'sync'; readonly file: Node; readonly only?: number; readonly failed?: true }
  | { readonly type: 'syncFolder'; readonly folder: Node; readonly failed?: true }
  | { readonly type: 'flip'; readonly file: Node; readonly at: number; readonly mask: number }
  /** Something that the test wants to find again. */
  | { readonly type: 'note'; readonly what: string };

/** What the disk is asked for. A write that must be durable is a `write` and then a `sync`; a folder goes file by file. */
export interface Asked {
  readonly type:
    | 'list'
    | 'read'
    | 'makeFolder'
    | 'create'
    | 'open'
    | 'write'
    | 'sync'
    | 'rename'
    | 'remove'
    | 'syncFolder';
  /** As it was when it was opened. */
  readonly path: string;
  /** Of a write. */
  readonly at?: number;
  readonly bytes?: number;
}

export interface Failure {
  readonly code: string;
  /** Of a write: how many of its bytes are taken all the same; none otherwise. */
  readonly bytes?: number;
}

/** Whether it is made, and durable only with a later sync. */
export const isUnsynced = (operation: Operation): operation is Write | Change =>
  ['write', 'link', 'rename', 'unlink'].includes(operation.type);

/** What an operation that fails does all the same. */
export function despite(operation: Operation | undefined, { bytes = 0 }: Failure): Operation | undefined {
  if (operation?.type === 'sync' || operation?.type === 'syncFolder') return { ...operation, failed: true };
  if (operation?.type !== 'write' || bytes === 0) return undefined;
  return { ...operation, bytes: operation.bytes.subarray(0, bytes) };
}

/** For `fails`: the next such operation (of that path, or of any) fails, and no other. */
export function once(type: Asked['type'], path?: string, code = 'EIO'): (asked: Asked) => Failure | undefined {
  let isDue = true;
  return (asked) => {
    if (!isDue || asked.type !== type || (path ?? asked.path) !== asked.path) return undefined;
    isDue = false;
    return { code };
  };
}
