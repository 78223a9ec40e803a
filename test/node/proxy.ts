/** A connection to a member by way of us: slowed down, cut, or closed to newcomers. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export class PeerProxy {
  readonly #server;
  readonly #open = new Set<Socket>();
  /** Bytes a second and connection, towards the member. */
  bytesPerSecond = Number.POSITIVE_INFINITY;
  /** Bytes taken towards the member, by connection. */
  readonly carried: number[] = [];

  /** Listens where others believe the member to be, and passes on to where it is. */
  static async listen(port: number, target: number): Promise<PeerProxy> {
    const proxy = new PeerProxy(target);
    proxy.#server.listen(port, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  private constructor(target: number) {
    this.#server = createServer((incoming) => {
      const outgoing = connect(target, '127.0.0.1');
      const connection = this.carried.push(0) - 1;
      for (const [socket, other] of [
        [incoming, outgoing],
        [outgoing, incoming],
      ] as const) {
        this.#open.add(socket);
        socket.setNoDelay(true);
        socket.on('error', () => {});
        socket.on('close', () => {
          this.#open.delete(socket);
          other.destroy();
        });
      }
      outgoing.pipe(incoming);
      incoming.on('data', (chunk: Buffer) => {
        this.carried[connection]! += chunk.length;
        outgoing.write(chunk);
        const pauseMs = (chunk.length / this.bytesPerSecond) * 1000;
        if (pauseMs < 1) return;
        incoming.pause();
        setTimeout(() => incoming.resume(), pauseMs);
      });
      incoming.on('end', () => outgoing.end());
    });
  }

  /** Ends every connection there is. */
  cut(): void {
    for (const socket of this.#open) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
