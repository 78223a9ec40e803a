/** Stands in for the cluster's DNS inside a member's process: names of pods are read from the file that the node keeps. */
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { promisify } from 'node:util';

const file = process.env['RAFTSMAN_STAND_IN_HOSTS'];
const real = dns.lookup;

type Callback = (error: Error | null, address: string | dns.LookupAddress[], family?: number) => void;

function lookup(name: string, options: dns.LookupOptions | Callback, callback?: Callback): void {
  const done = callback ?? (options as Callback);
  const pod = /^([a-z0-9-]+)\.[a-z0-9-]+-peers\.[a-z0-9-]+\.svc$/.exec(name)?.[1];
  if (file === undefined || pod === undefined) {
    (real as unknown as (...args: unknown[]) => void)(name, options, callback);
    return;
  }
  const address = (JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>)[pod];
  process.nextTick(() => {
    if (address === undefined) done(Object.assign(new Error(`ENOTFOUND ${name}`), { code: 'ENOTFOUND' }), '');
    else if (typeof options === 'object' && options.all) done(null, [{ address, family: 4 }]);
    else done(null, address, 4);
  });
}

dns.lookup = lookup as typeof dns.lookup;
// gRPC asks this way.
dns.promises.lookup = promisify(lookup) as unknown as typeof dns.promises.lookup;
// Members import it by its name.
syncBuiltinESMExports();
