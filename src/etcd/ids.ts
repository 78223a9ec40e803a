/** Ids of clusters and members are uint64: lowercase hex without padding where people see them, decimal on our wire types. */

export function decimalId(hex: string): string {
  return BigInt(`0x${hex}`).toString();
}

export function hexId(decimal: string): string {
  return BigInt(decimal).toString(16);
}
