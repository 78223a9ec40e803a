/**
 * Addresses of the clusters on this machine: each has a /22 of 198.18.0.0/15 (RFC 2544: set aside for tests between
 * devices, so that no real network uses it). Slot s has 198.18.0.0 + 4s·256:
 * .0.0/24 the link to the host, .1.0/24 services, .2.0/24 pods.
 */
export interface Addresses {
  readonly whole: string;
  readonly host: string;
  readonly node: string;
  readonly services: string;
  /** The API server's Service `default/kubernetes` always gets the first address of the range. */
  readonly firstService: string;
  readonly dns: string;
  readonly pods: string;
  readonly link: string;
}

export const SLOTS = 128;

export function addressesOf(slot: number): Addresses {
  if (!Number.isInteger(slot) || slot < 0 || slot >= SLOTS)
    throw new RangeError(`slot ${slot} is not in 0..${SLOTS - 1}`);
  const second = 18 + Math.floor(slot / 64);
  const third = (slot % 64) * 4;
  const at = (offset: number, last: number) => `198.${second}.${third + offset}.${last}`;
  return {
    whole: `${at(0, 0)}/22`,
    host: at(0, 1),
    node: at(0, 2),
    dns: at(0, 3),
    services: `${at(1, 0)}/24`,
    firstService: at(1, 1),
    pods: `${at(2, 0)}/24`,
    link: `rkube${slot}`,
  };
}

/** The lowest slot that no living cluster has and no interface of the machine uses. */
export function freeSlot(taken: ReadonlySet<number>): number | undefined {
  for (let slot = 0; slot < SLOTS; slot += 1) if (!taken.has(slot)) return slot;
  return undefined;
}
