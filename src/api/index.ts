/** The nouns of the API: import from here. */
export * from './cluster.ts';
export * from './compaction.ts';
export * from './conditions.ts';
export * from './kinds.ts';
export * from './meta.ts';
export * from './policy.ts';
export * from './restore.ts';
export * from './scheduled.ts';
export * from './snapshot.ts';
export * from './store.ts';
