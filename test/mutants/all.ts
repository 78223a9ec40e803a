import { membership } from './membership.ts';
import type { Mutant } from './mutant.ts';
import { node } from './node.ts';
import { raft } from './raft.ts';
import { storage } from './storage.ts';

export const mutants: readonly Mutant[] = [...raft, ...membership, ...storage, ...node];
