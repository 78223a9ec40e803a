/** Memory at the start and at most, in bytes, and how often it was looked at. */
export interface MemoryInUse {
  start: number;
  most: number;
  samples: number;
}

/**
 * Does the work and watches the memory in use meanwhile: what is left after a collection. The resident set would count the
 * garbage that lies about before one as well, and how much that is is up to the machine. The process needs --expose-gc.
 */
export async function memoryInUse(work: () => Promise<void>): Promise<MemoryInUse> {
  const inUse = () => {
    if (globalThis.gc === undefined) throw new Error('run with --expose-gc');
    globalThis.gc();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const start = inUse();
  const watched = { start, most: start, samples: 0 };
  const sampling = setInterval(() => {
    watched.most = Math.max(watched.most, inUse());
    watched.samples += 1;
  }, 20);
  try {
    await work();
  } finally {
    clearInterval(sampling);
  }
  return watched;
}
