import type { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { expect, test } from '@jest/globals';
import { certificatesOf } from '../../../src/controllers/tls/inspect.ts';
import { EtcdClient } from '../../../src/etcd/client.ts';
import type { ClientTls } from '../../../src/etcd/security.ts';
import { type Day, storyMs } from '../day.ts';
import { patienceMs } from '../live-cluster.ts';

/** Two minutes and more after each of two steps, until the kubelet has brought new files to every member. */
const rotatedWithinMs = 4 * patienceMs;

/** A pod that is about to go may be silent. */
const shownWithinMs = 10_000;

/** The certificate that a member shows whoever connects. */
function shown(url: string): Promise<X509Certificate> {
  const { hostname: host, port } = new URL(url);
  return new Promise((done, fail) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
      done(socket.getPeerX509Certificate()!);
      socket.destroy();
    });
    socket.once('error', fail);
    socket.setTimeout(shownWithinMs, () => socket.destroy(new Error(`${url} shows no certificate`)));
  });
}

/** Of all members; undefined while one of them cannot be asked. */
async function shownByAll({ cluster }: Day): Promise<X509Certificate[] | undefined> {
  return Promise.all((await cluster.urls()).map(shown)).catch(() => undefined);
}

/** What a client has that reads the Secret for clients now. */
async function given({ cluster }: Day): Promise<ClientTls> {
  await cluster.urls();
  return cluster.connection().tls!;
}

const authorities = ({ ca }: ClientTls): X509Certificate[] => certificatesOf(String(ca));

/** A connection of its own to each member, with these certificates. */
async function asksAll({ cluster }: Day, tls: ClientTls): Promise<void> {
  for (const url of await cluster.urls()) {
    const client = new EtcdClient({ endpoints: [url], deadlineMs: 20_000, tls });
    try {
      await client.range({ key: Buffer.from('anything') });
    } finally {
      client.close();
    }
  }
}

export function rotating(day: () => Day): void {
  test(
    'its certificates are renewed by all members while clients write, and nobody is restarted',
    async () => {
      const pods = (await day().cluster.pods()).map(({ metadata }) => metadata.uid);
      const before = (await shownByAll(day()))!.map(({ serialNumber }) => serialNumber);
      await day().step('certificates renewed', async () => {
        // What has ninety days left is due by this.
        await day().cluster.edit({ tls: { managed: { certificateDays: 365, renewBeforeDays: 100 } } });
        await day().cluster.until('to serve with new certificates', patienceMs, async () => {
          const now = await shownByAll(day());
          return now?.every(({ serialNumber }) => !before.includes(serialNumber)) ?? false;
        });
        await asksAll(day(), await given(day()));
        await day().clients.more(100, patienceMs);
      });
      expect((await day().cluster.pods()).map(({ metadata }) => metadata.uid)).toEqual(pods);
    },
    storyMs,
  );

  test(
    'its CA is replaced while clients write, and in the end the old one is trusted by nobody',
    async () => {
      const old = await given(day());
      const [oldAuthority] = authorities(old);
      await day().step('CA replaced', async () => {
        await day().cluster.edit({ tls: { managed: { caGeneration: 2, caOverlapDays: 0 } } });
        await day().cluster.until('to trust two CAs', patienceMs, async () => {
          return authorities(await given(day())).length === 2;
        });
        await day().clients.more(100, patienceMs);
        await day().cluster.until('to trust the new CA alone', rotatedWithinMs, async () => {
          const now = authorities(await given(day()));
          return now.length === 1 && now[0]!.fingerprint256 !== oldAuthority!.fingerprint256;
        });
        const fresh = await given(day());
        const [authority] = authorities(fresh);
        // One of them may be about to start anew, to read whom it trusts.
        await day().cluster.until('to serve with certificates of the new CA', patienceMs, async () => {
          const now = await shownByAll(day());
          return now?.every((one) => one.checkIssued(authority!) && !one.checkIssued(oldAuthority!)) ?? false;
        });
        // Who still comes with a certificate of the old CA is turned away by each member, once it has read its files.
        await day().cluster.until('to refuse certificates of the old CA', patienceMs, async () => {
          const late = { ...old, ca: fresh.ca! };
          // Members that serve: one that is about to start anew refuses everybody.
          const serves = () =>
            asksAll(day(), fresh).then(
              () => true,
              () => false,
            );
          if (!(await serves())) return false;
          const answers = await Promise.allSettled(
            (await day().cluster.urls()).map(async (url) => {
              const client = new EtcdClient({ endpoints: [url], deadlineMs: 5_000, tls: late });
              await client.range({ key: Buffer.from('anything') }).finally(() => client.close());
            }),
          );
          return answers.every(({ status }) => status === 'rejected') && (await serves());
        });
        await day().cluster.calm(3);
        await asksAll(day(), await given(day()));
        await day().clients.more(100, patienceMs);
      });
      expect(await day().compare()).toEqual([]);
      day().write();
    },
    storyMs,
  );
}
