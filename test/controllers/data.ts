/** Data of clusters on a stand-in node, written and read as clients do. */
import { EtcdClient } from '../../src/etcd/client.ts';
import type { Ground } from './plane.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

export function clientOf(ground: Ground, cluster: string, replicas = 3): EtcdClient {
  return new EtcdClient({
    endpoints: Array.from({ length: replicas }, (_, ordinal) => ground.node.endpoint(`${cluster}-${ordinal}`)),
  });
}

export async function put(client: EtcdClient, key: string, value: string): Promise<void> {
  await client.put({ key: bytes(key), value: bytes(value) });
}

export async function valueAt(client: EtcdClient, key: string): Promise<string | undefined> {
  const { kvs } = await client.range({ key: bytes(key) });
  return kvs[0] && new TextDecoder().decode(kvs[0].value);
}

/** Everything that one member itself holds, as text, without asking the others. */
export async function everythingOf(ground: Ground, member: string): Promise<Record<string, string>> {
  const client = new EtcdClient({ endpoints: [ground.node.endpoint(member)] });
  try {
    const text = new TextDecoder();
    const { kvs } = await client.range({ key: new Uint8Array(1), rangeEnd: new Uint8Array(1), serializable: true });
    return Object.fromEntries(
      kvs.map(({ key, value, modRevision }) => [text.decode(key), `${text.decode(value)} @${modRevision}`]),
    );
  } finally {
    client.close();
  }
}
