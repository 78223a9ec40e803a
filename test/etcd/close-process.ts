/** A process of its own for close.test.ts: asks one endpoint for its status, closes its client, and has nothing left to do. */
import { EtcdClient } from '../../src/etcd/client.ts';
import { EtcdError } from '../../src/etcd/errors.ts';

const client = new EtcdClient({ endpoints: [process.argv[2]!], deadlineMs: 300 });
const code = await client.status().then(
  () => 'answered',
  (error: unknown) => (error instanceof EtcdError ? error.code : String(error)),
);
client.close();
process.stdout.write(code);
