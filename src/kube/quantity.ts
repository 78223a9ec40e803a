/** Amounts as Kubernetes writes them: `1Gi`, `1024Mi`, `500m`. Pure. */

const SCALE: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The amount as a number, exact to twelve digits; undefined when `value` is no quantity. */
export function quantity(value: unknown): number | undefined {
  const match = /^([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:e(\d+)|([numkMGTPE]|[KMGTPE]i)?)$/i.exec(String(value));
  if (match === null) return undefined;
  const scale = match[2] === undefined ? SCALE[match[3] ?? ''] : 10 ** Number(match[2]);
  return scale === undefined ? undefined : Number((Number(match[1]) * scale).toPrecision(12));
}
