/** Ports on 127.0.0.1 for the processes that tests start. */
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below those that the kernel gives to connections (`net.ipv4.ip_local_port_range`): one of these may be taken before whoever asked
 * listens. Each process has a hundred of its own, so that tests beside each other do not ask for the same.
 */
const [ownPorts, first] = [100, 10_000 + (process.pid % 200) * 100];
let asked = 0;

export async function freePorts(count: number): Promise<number[]> {
  const free: number[] = [];
  for (let tries = 0; free.length < count; tries++) {
    if (tries === ownPorts) throw new Error(`only ${free.length} of ${count} ports are free from ${first} on`);
    const port = first + (asked++ % ownPorts);
    if (await isFree(port)) free.push(port);
  }
  return free;
}

export const freePort = async (): Promise<number> => (await freePorts(1))[0]!;

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
