export default async function teardown(): Promise<void> {
  await (globalThis as { raftsmanStop?: () => Promise<void> }).raftsmanStop?.();
}
