/** The flags about certificates: etcd's names, once for clients and once, with `peer-` before them, for the other members. */
import { wrongFlag } from './errors.ts';
import { isSecure } from './urls.ts';

/** Of one kind of connection. At least one file is given. */
export interface TlsFiles {
  readonly use: 'client' | 'peer';
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  /** Authorities of those who connect to this member, and of those peers that it connects to. */
  readonly trustedCaFile: string | undefined;
  /** Nobody is listened to without a certificate of a trusted authority. */
  readonly clientCertAuth: boolean;
  /** When there are any, the other side's certificate bears one of them as its common name. */
  readonly allowedCommonNames: readonly string[];
  /** When there are any, the other side's certificate is for one of them. */
  readonly allowedHostnames: readonly string[];
}

const kinds = {
  client: {
    cert: 'cert-file',
    key: 'key-file',
    ca: 'trusted-ca-file',
    auth: 'client-cert-auth',
    listen: 'listen-client-urls',
  },
  peer: {
    cert: 'peer-cert-file',
    key: 'peer-key-file',
    ca: 'peer-trusted-ca-file',
    auth: 'peer-client-cert-auth',
    listen: 'listen-peer-urls',
  },
} as const;

export const tlsFlags = {
  'cert-file': { value: 'FILE', default: '', help: 'certificate shown to clients, PEM, with its intermediates' },
  'key-file': { value: 'FILE', default: '', help: 'its key, PEM, not encrypted' },
  'client-cert-auth': { value: 'true|false', default: 'false', help: 'clients need a certificate too' },
  'trusted-ca-file': {
    value: 'FILE',
    default: '',
    help: 'authorities of clients’ certificates, PEM; when given, clients need one, as with etcd',
  },
  'client-cert-allowed-hostname': {
    value: 'NAMES',
    default: '',
    help: 'clients’ certificates must be for one of these hosts',
  },
  'peer-cert-file': {
    value: 'FILE',
    default: '',
    help: 'certificate shown to the other members, whoever of the two connects: it serves both ways',
  },
  'peer-key-file': { value: 'FILE', default: '', help: 'its key, PEM, not encrypted' },
  'peer-client-cert-auth': { value: 'true|false', default: 'false', help: 'members that connect need a certificate' },
  'peer-trusted-ca-file': {
    value: 'FILE',
    default: '',
    help: 'authorities of the other members’ certificates, PEM; when given, members that connect need one',
  },
  'peer-cert-allowed-cn': {
    value: 'NAMES',
    default: '',
    help: 'other members’ certificates must have one of these common names: for authorities that issue others too',
  },
  'peer-cert-allowed-hostname': {
    value: 'NAMES',
    default: '',
    help: 'other members’ certificates must be for one of these hosts',
  },
} as const;

type TlsFlag = keyof typeof tlsFlags;
type Read = (name: TlsFlag) => string;

export interface ListenUrls {
  readonly client: readonly string[];
  readonly peer: readonly string[];
}

/** Undefined: nothing was said of certificates. Throws a NodeError when the flags contradict each other or the URLs. */
export function tlsFilesOf(
  use: 'client' | 'peer',
  read: Read,
  flag: (name: TlsFlag) => boolean,
  listenUrls: readonly string[],
): TlsFiles | undefined {
  const names = kinds[use];
  const file = (name: TlsFlag): string | undefined => (read(name) === '' ? undefined : read(name));
  const list = (name: TlsFlag): string[] =>
    read(name)
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '');
  const files: TlsFiles = {
    use,
    certFile: file(names.cert),
    keyFile: file(names.key),
    trustedCaFile: file(names.ca),
    clientCertAuth: flag(names.auth) || file(names.ca) !== undefined,
    allowedCommonNames: use === 'peer' ? list('peer-cert-allowed-cn') : [],
    allowedHostnames: list(use === 'peer' ? 'peer-cert-allowed-hostname' : 'client-cert-allowed-hostname'),
  };
  const { certFile, keyFile, trustedCaFile } = files;
  const secure = listenUrls.find(isSecure);
  const plain = listenUrls.find((url) => !isSecure(url));
  if (certFile !== undefined && keyFile === undefined)
    throw wrongFlag(names.key, `must be given when --${names.cert} is`);
  if (keyFile !== undefined && certFile === undefined)
    throw wrongFlag(names.cert, `must be given when --${names.key} is`);
  if (secure !== undefined && certFile === undefined)
    throw wrongFlag(names.cert, `must be given, and --${names.key}: --${names.listen} has ${secure}`);
  if (flag(names.auth) && trustedCaFile === undefined)
    throw wrongFlag(names.ca, `must be given when --${names.auth} is: it says whose certificates are good`);
  const given = ([names.auth, names.ca, names.cert] as const).find((name) => !['', 'false'].includes(read(name)));
  // Asked for security, a member does not listen without.
  if (plain !== undefined && given !== undefined && (secure === undefined || files.clientCertAuth))
    throw wrongFlag(names.listen, `${plain} is not secured, but --${given} is given: listen at https:// instead`);
  const [allowed] = [...files.allowedCommonNames, ...files.allowedHostnames];
  if (allowed !== undefined && !files.clientCertAuth)
    throw wrongFlag(names.ca, `must be given when only certificates for ${allowed} are allowed`);
  return given === undefined ? undefined : files;
}
