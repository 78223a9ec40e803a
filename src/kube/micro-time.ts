/** Kubernetes' MicroTime: RFC 3339 in UTC with exactly six fractional digits; with fewer the server refuses it. */
export function microTime(unixMs: number): string {
  const whole = Math.floor(unixMs);
  const micros = Math.floor((unixMs - whole) * 1000);
  return new Date(whole).toISOString().replace('Z', `${String(micros).padStart(3, '0')}Z`);
}
