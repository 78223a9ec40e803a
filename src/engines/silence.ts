/** Why a member does not answer: what can be told from the outside. */
import { connect } from 'node:net';
import { parseEndpoint } from '../etcd/endpoint.ts';
import type { EtcdError } from '../etcd/errors.ts';
import type { Unavailable } from './engine.ts';

/** How long a member that has not answered in time is given to take a bare connection, in milliseconds. */
export const knockMs = 250;

/** Of an error that is about the connection, by what the system said. */
export function reasonOf(error: EtcdError): Unavailable {
  switch (error.code) {
    case 'ETCD_CANCELLED':
      return 'cancelled';
    case 'ETCD_DEADLINE_EXCEEDED':
      return 'timeout';
    case 'ETCD_TLS_REFUSED':
      return 'tls';
    case 'ETCD_UNREACHABLE':
      return reasonIn(error.message);
    case 'ETCD_STOPPED':
    case 'ETCD_SNAPSHOT_TRUNCATED':
      return 'interrupted';
    default:
      return 'noLeader';
  }
}

function reasonIn(words: string): Unavailable {
  if (/ECONNREFUSED/.test(words)) return 'refused';
  if (/EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENOTFOUND|EAI_AGAIN|Name resolution failed|ETIMEDOUT/.test(words))
    return 'unreachable';
  return 'interrupted';
}

/**
 * A call that ran into its deadline says nothing of the member's end: a process that is stopped keeps its port, and the
 * system goes on taking connections for it; one that has ended refuses them; a machine that is gone takes none.
 */
export function knock(url: string): Promise<Unavailable> {
  const { host, port } = parseEndpoint(url);
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (reason: Unavailable) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reason);
    };
    const timer = setTimeout(() => done('unreachable'), knockMs);
    socket.once('connect', () => done('timeout'));
    socket.once('error', (error) => done(reasonIn(error.message)));
  });
}
