import { parseArgs } from 'node:util';
import { type SourceKind, sourceKinds } from '../archive/sources/source.ts';

export const usage = `usage: raftsman archive save    --endpoints URL[,URL...] FILE
       raftsman archive inspect FILE
       raftsman archive verify  FILE
       raftsman archive convert SOURCE FILE

Instead of FILE, --store store.yaml --key KEY names an archive in a store.

  save      write a snapshot of the cluster at the endpoints into a new archive
  inspect   verify an archive and print what it is as JSON on standard output
  verify    verify an archive; the exit status tells
  convert   write a new archive around a snapshot that another program took; SOURCE is one of
              goraft      a .ss file, or a folder of them (then the newest)
              hashicorp   a snapshot folder of hashicorp/raft's file store with meta.json and state.bin, or
                          the folder of them (then the newest good one)
              snap        a .snap file of Consul, Nomad or another program
            Index, term, configuration and state are kept as they are. Such an archive can be verified and
            kept, and HashiCorp's programs read it; a cluster of Raftsman cannot be restored from it.

  --endpoints URL[,URL...]   client addresses of the members; the first that answers is asked
  --cluster NAME             name of the cluster, kept in the archive
  --engine NAME              Embedded (the default) or Etcd: state.bin is then what etcdctl snapshot save writes
  --tls-dir FOLDER           tls.crt, tls.key and ca.crt, for https endpoints
  --force                    save: replace an archive that is there
  --from KIND                convert: goraft, hashicorp or snap; without it the content tells
  --store FILE               manifest of a RaftSnapshotStore; credentials come from AWS_ACCESS_KEY_ID,
                             AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN
  --key KEY                  name of the archive in the store
  --mount FOLDER             where the volume of a volume store is mounted (default /store)

exit status: 0 done, the archive is good; 1 failed; 2 wrong usage
`;

/** Where an archive is. */
export type Place =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'store'; readonly manifest: string; readonly key: string; readonly mount: string | undefined };

export type ArchiveCommand =
  | { readonly verb: 'help' }
  | {
      readonly verb: 'save';
      readonly place: Place;
      readonly endpoints: string;
      readonly cluster: string;
      readonly engine: string;
      /** Where the certificates for the endpoints are. */
      readonly tlsFolder: string | undefined;
      readonly force: boolean;
    }
  | { readonly verb: 'inspect' | 'verify'; readonly place: Place }
  | {
      readonly verb: 'convert';
      readonly source: string;
      readonly from: SourceKind | undefined;
      readonly place: Place;
    };

export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'CLI_USAGE';
}

const flags = {
  endpoints: { type: 'string' },
  cluster: { type: 'string' },
  engine: { type: 'string' },
  'tls-dir': { type: 'string' },
  force: { type: 'boolean' },
  from: { type: 'string' },
  store: { type: 'string' },
  key: { type: 'string' },
  mount: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Flags that not every verb takes; `--store` and what goes with it are for all. */
const own: Readonly<Record<Exclude<ArchiveCommand['verb'], 'help'>, readonly string[]>> = {
  save: ['endpoints', 'cluster', 'engine', 'tls-dir', 'force'],
  inspect: [],
  verify: [],
  convert: ['from'],
};

export function parseArchiveCommand(argv: readonly string[]): ArchiveCommand {
  const { values, positionals } = parseStrictly(argv);
  const [verb, ...rest] = positionals;
  if (values.help === true || verb === 'help') return { verb: 'help' };
  switch (verb) {
    case 'save': {
      refuseOthers(verb, values);
      const place = placeOf(verb, values, rest);
      const { endpoints, cluster = '', engine = 'Embedded', force = false } = values;
      if (!endpoints) throw new UsageError('save needs --endpoints, such as --endpoints http://127.0.0.1:2379');
      return { verb, place, endpoints, cluster, engine, tlsFolder: values['tls-dir'], force };
    }
    case 'inspect':
    case 'verify':
      refuseOthers(verb, values);
      return { verb, place: placeOf(verb, values, rest) };
    case 'convert': {
      refuseOthers(verb, values);
      const [source, ...target] = rest;
      if (!source) throw new UsageError('convert needs a SOURCE and a FILE, or a SOURCE, --store and --key');
      return { verb, source, from: kindOf(values.from), place: placeOf(verb, values, target) };
    }
    case undefined:
      throw new UsageError('what to do? use save, inspect, verify or convert');
    default:
      throw new UsageError(`unknown command "${verb}": use save, inspect, verify or convert`);
  }
}

function refuseOthers(verb: keyof typeof own, values: Readonly<Record<string, unknown>>): void {
  const wrong = Object.values(own)
    .flat()
    .find((name) => values[name] !== undefined && !own[verb].includes(name));
  if (wrong !== undefined) throw new UsageError(`${verb} takes no --${wrong}`);
}

function kindOf(from: string | undefined): SourceKind | undefined {
  if (from === undefined) return undefined;
  const kind = sourceKinds.find((known) => known === from);
  if (kind === undefined) throw new UsageError(`--from is "${from}": use goraft, hashicorp or snap`);
  return kind;
}

interface PlaceFlags {
  readonly store?: string | undefined;
  readonly key?: string | undefined;
  readonly mount?: string | undefined;
}

function placeOf(verb: string, { store, key, mount }: PlaceFlags, rest: readonly string[]): Place {
  const [path, more] = rest;
  if (more !== undefined) throw new UsageError(`unexpected argument "${more}"`);
  if (store === undefined) {
    if (key !== undefined) throw new UsageError('--key needs --store');
    if (mount !== undefined) throw new UsageError('--mount needs --store');
    if (!path) throw new UsageError(`${verb} needs a FILE, or --store and --key`);
    return { kind: 'file', path };
  }
  if (path !== undefined) throw new UsageError(`give either a file ("${path}") or --store and --key`);
  if (!key) throw new UsageError('--store needs --key');
  return { kind: 'store', manifest: store, key, mount };
}

function parseStrictly(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: flags, allowPositionals: true, strict: true });
  } catch (error) {
    // The first sentence names the flag; the rest is advice on writing parsers.
    throw new UsageError((error as Error).message.split('. ')[0] ?? 'wrong flags');
  }
}
