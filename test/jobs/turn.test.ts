import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { untilTurn } from '../../src/jobs/turn.ts';

const servers: Server[] = [];
afterEach(() => Promise.all(servers.splice(0).map((server) => new Promise((done) => server.close(done)))));

/** The loopback address ends as the member's name does: replacing one by the other gives that of another member. */
async function serve(ordinal: number, port = 0): Promise<number> {
  const server = createServer((socket) => socket.destroy()).listen(port, `127.0.0.${ordinal}`);
  servers.push(server);
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}

const turn = (ordinal: number, joining: readonly number[], port: number, withinMs: number) =>
  untilTurn({
    name: `.${ordinal}`,
    joining: joining.map((each) => `.${each}`),
    metrics: `127.0.0.${ordinal}:${port}`,
    withinMs,
  });

describe('of members that join etcd side by side', () => {
  test('the first one waits for nobody', async () => {
    expect(await turn(3, [3, 4], 9, 60_000)).toEqual([]);
    expect(await turn(9, [9, 10], 9, 60_000)).toEqual([]);
  });

  test('one that comes later begins once those before it serve', async () => {
    const port = await serve(5);
    expect(await turn(10, [5, 10], port, 60_000)).toEqual([]);
    let begun = false;
    const both = turn(10, [5, 6, 10], port, 60_000).then((missing) => {
      begun = true;
      return missing;
    });
    await turn(8, [7, 8], port, 300);
    expect(begun).toBe(false);
    await serve(6, port);
    expect(await both).toEqual([]);
  });

  test('one that is nowhere is not waited for beyond the limit, and named', async () => {
    const port = await serve(5);
    expect(await turn(7, [5, 6, 7], port, 200)).toEqual(['.6']);
  });
});
