import type { Addresses } from './addresses.ts';
import { run } from './command.ts';
import { runInside, type Sandbox } from './sandbox.ts';

/**
 * Joins the cluster's network namespace to the host with a veth pair, and routes the cluster's whole range over it: the
 * API server, services and pods are then all reachable from the host. Nothing of the host's own network changes.
 */
export async function connect(sandbox: Sandbox, addresses: Addresses): Promise<void> {
  const { link, host, node, dns, whole } = addresses;
  // A link of this name can only be left over from a cluster that is just being taken down.
  await run('ip', ['link', 'delete', link]).catch(() => {});
  await run('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(sandbox.pid)]);
  await Promise.all([
    run('ip', ['-batch', '-'], {
      input: [`addr add ${host}/24 dev ${link}`, `link set ${link} up`, `route replace ${whole} via ${node}`, ''].join(
        '\n',
      ),
    }),
    runInside(sandbox, ['ip', '-batch', '-'], {
      input: [
        `addr add ${node}/24 dev eth0`,
        `addr add ${dns}/24 dev eth0`,
        'link set eth0 up',
        `route replace default via ${host}`,
        '',
      ].join('\n'),
    }),
  ]);
}
