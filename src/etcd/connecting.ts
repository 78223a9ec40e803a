/**
 * Connections that can be given up while they are being made, and waiting for them.
 *
 * gRPC forgets an attempt when its channel is closed and lets it run: until the system gives up on a host that does not
 * answer, after two minutes, and for good while a server keeps silent in the handshake. A process cannot end meanwhile. The
 * library has no way to end an attempt. But it hands the addresses that a resolver finds on to `net.connect` as they are, and
 * that takes a signal which destroys the socket. So endpoints have a resolver of their own: gRPC's, and the signal.
 */
import { type ChannelOptions, type Client, connectivityState, experimental } from '@grpc/grpc-js';

const scheme = 'raftsman';
const option = 'raftsman.given_up';

class Resolver implements experimental.Resolver {
  readonly #addresses: experimental.Resolver;

  constructor({ path }: experimental.GrpcUri, listener: experimental.ResolverListener, options: ChannelOptions) {
    const signal = options[option] as AbortSignal;
    this.#addresses = experimental.createResolver(
      { scheme: 'dns', path },
      (found, ...more) => {
        if (!found.ok) return listener(found, ...more);
        const value = found.value.map(({ addresses }) => ({
          addresses: addresses.map((address) => ({ ...address, signal })),
        }));
        return listener({ ok: true, value }, ...more);
      },
      options,
    );
  }

  updateResolution(): void {
    this.#addresses.updateResolution();
  }

  destroy(): void {
    this.#addresses.destroy();
  }

  static getDefaultAuthority({ path }: experimental.GrpcUri): string {
    return path;
  }
}

experimental.registerResolver(scheme, Resolver);

/** What a channel to `authority` is made with, so that `givenUp` ends its connections, finished ones too. */
export function abandonable(authority: string, givenUp: AbortSignal): { target: string; options: ChannelOptions } {
  return { target: `${scheme}:${authority}`, options: { [option]: givenUp } };
}

export function isConnected(client: Client): boolean {
  return client.getChannel().getConnectivityState(false) === connectivityState.READY;
}

/** Connects. False when it is still at it after `withinMs`, or told to stop, or closed: true when a call would not wait. */
export async function connects(client: Client, withinMs: number, signal: AbortSignal | undefined): Promise<boolean> {
  const channel = client.getChannel();
  const deadline = Date.now() + withinMs;
  for (let waiting = true; waiting; ) {
    // What it gives is how it was before it was told to connect.
    channel.getConnectivityState(true);
    const state = channel.getConnectivityState(false);
    // After a failure calls fail at once and say why, while it goes on trying.
    if (state === connectivityState.READY || state === connectivityState.TRANSIENT_FAILURE) return true;
    if (state === connectivityState.SHUTDOWN) return false;
    waiting = await new Promise<boolean>((resolve) => {
      const stop = (): void => resolve(false);
      signal?.addEventListener('abort', stop, { once: true });
      channel.watchConnectivityState(state, deadline, (late) => {
        signal?.removeEventListener('abort', stop);
        resolve(late === undefined);
      });
    });
  }
  return false;
}
