/**
 * A member's certificates of one kind: read from their files, and again when the files change, so that new ones are taken by
 * renewing them in place (Kubernetes swaps a symbolic link) without a restart. Connections that are made from then on have the
 * new ones; those that there are stay. Files that cannot be used leave those before in force.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import type { Log } from '../log.ts';
import { NodeError } from './errors.ts';
import type { NodeOptions } from './flags.ts';
import type { TlsFiles } from './tls-flags.ts';

const lookEveryMs = 1000;
/** So much before its end a certificate that was not renewed is warned about. */
const warnBeforeMs = 24 * 3600_000;

/** What the files held when they were last read. */
interface Loaded {
  readonly context: SecureContext;
  /** Of the chain, the certificate that ends first. */
  readonly leaf: X509Certificate | undefined;
  /** Of the authorities, the one that ends last. */
  readonly authority: X509Certificate | undefined;
}

export interface Expiry {
  readonly use: TlsFiles['use'];
  readonly certificate: 'leaf' | 'authority';
  /** Seconds since 1970. */
  readonly at: number;
}

export class Certificates {
  readonly #files: TlsFiles;
  readonly #log: Log;
  #loaded: Loaded;
  /** Which state of the files `#loaded` is of; undefined: look again. */
  #seen: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #complaint = '';
  #warned: Loaded | undefined;

  /** Rejects with NODE_CERTIFICATE_UNUSABLE, which names the flag and the file. */
  static async open(files: TlsFiles, log: Log): Promise<Certificates> {
    const seen = await signatureOf(files);
    const certificates = new Certificates(files, log, await load(files), seen);
    certificates.#tell('certificates read');
    certificates.#lookLater();
    return certificates;
  }

  private constructor(files: TlsFiles, log: Log, loaded: Loaded, seen: string) {
    this.#files = files;
    this.#log = log;
    this.#loaded = loaded;
    this.#seen = seen;
  }

  /** Of the newest certificates; for both directions. */
  get context(): SecureContext {
    return this.#loaded.context;
  }

  /** Whoever connects needs a certificate of a trusted authority. */
  get areRequired(): boolean {
    return this.#files.clientCertAuth;
  }

  get expiries(): readonly Expiry[] {
    const { leaf, authority } = this.#loaded;
    const { use } = this.#files;
    const all = [
      ['leaf', leaf],
      ['authority', authority],
    ] as const;
    return all.flatMap(([certificate, found]) => (found ? [{ use, certificate, at: endOf(found) / 1000 }] : []));
  }

  /** Why the other side, whose certificate is good, is not one of those that are allowed; undefined when it is. */
  objection(socket: TLSSocket): string | undefined {
    const { allowedCommonNames: names, allowedHostnames: hosts } = this.#files;
    if (names.length === 0 && hosts.length === 0) return undefined;
    const { CN = [] } = socket.getPeerCertificate().subject ?? {};
    const certificate = socket.getPeerX509Certificate();
    if (names.length > 0 && ![CN].flat().some((name) => names.includes(name)))
      return `the common name of its certificate is ${JSON.stringify(CN)}, which is not allowed`;
    if (hosts.length > 0 && !hosts.some((host) => certificate?.checkHost(host, { subject: 'never' })))
      return `its certificate is for ${certificate?.subjectAltName ?? 'no host'}, which is not allowed`;
    return undefined;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #lookLater(): void {
    this.#timer = setTimeout(() => void this.#look(), lookEveryMs).unref();
  }

  async #look(): Promise<void> {
    try {
      // Taken before the files are read: what changes meanwhile is seen the next time.
      const seen = await signatureOf(this.#files);
      if (seen !== this.#seen) {
        this.#loaded = await load(this.#files);
        this.#seen = seen;
        this.#complaint = '';
        this.#tell('certificates read again');
      }
    } catch (error) {
      this.#seen = undefined;
      this.#complain(error as Error);
    }
    this.#warnOfEnd();
    if (this.#timer) this.#lookLater();
  }

  #tell(message: string): void {
    const { leaf, authority } = this.#loaded;
    this.#log.info(message, {
      use: this.#files.use,
      subject: leaf?.subject,
      serial: leaf?.serialNumber,
      expires: leaf && new Date(endOf(leaf)).toISOString(),
      authority: authority?.subject,
      authorityExpires: authority && new Date(endOf(authority)).toISOString(),
    });
  }

  #complain(error: Error): void {
    if (error.message === this.#complaint) return;
    this.#complaint = error.message;
    this.#log.warn('the new certificates cannot be used; the ones before stay in force', {
      use: this.#files.use,
      error,
    });
  }

  #warnOfEnd(): void {
    const { leaf } = this.#loaded;
    if (!leaf || this.#warned === this.#loaded || endOf(leaf) - Date.now() > warnBeforeMs) return;
    this.#warned = this.#loaded;
    this.#log.warn('a certificate ends soon or has ended: renew it in its file', {
      use: this.#files.use,
      file: this.#files.certFile,
      expires: new Date(endOf(leaf)).toISOString(),
    });
  }
}

export interface MemberCertificates {
  readonly client: Certificates | undefined;
  readonly peer: Certificates | undefined;
}

/** Rejects as `Certificates.open` does. */
export async function openCertificates(
  { clientTls, peerTls }: Pick<NodeOptions, 'clientTls' | 'peerTls'>,
  log: Log,
): Promise<MemberCertificates> {
  const open = async (files: TlsFiles | undefined): Promise<Certificates | undefined> =>
    files && Certificates.open(files, log);
  const [client, peer] = [await open(clientTls), await open(peerTls)];
  return { client, peer };
}

const endOf = (certificate: X509Certificate): number => certificate.validToDate.getTime();

const paths = ({ certFile, keyFile, trustedCaFile }: TlsFiles): string[] =>
  [certFile, keyFile, trustedCaFile].filter((path) => path !== undefined);

async function signatureOf(files: TlsFiles): Promise<string> {
  const all = await Promise.all(
    paths(files).map(async (path) => {
      const { ino, size, mtimeNs } = await stat(path, { bigint: true }).catch(() => ({ ino: 0, size: 0, mtimeNs: 0 }));
      return `${ino}-${size}-${mtimeNs}`;
    }),
  );
  return all.join();
}

async function load({ use, certFile, keyFile, trustedCaFile }: TlsFiles): Promise<Loaded> {
  const unusable = (flag: string, what: string, cause?: unknown): NodeError =>
    new NodeError('NODE_CERTIFICATE_UNUSABLE', `--${use === 'peer' ? 'peer-' : ''}${flag}: ${what}`, 1, cause);
  const read = async (flag: string, path: string): Promise<string> => {
    try {
      return await readFile(path, 'utf8');
    } catch (error) {
      throw unusable(flag, `${(error as Error).message}: check the path, and that the file may be read`, error);
    }
  };
  const certificatesIn = async (flag: string, path: string): Promise<{ text: string; all: X509Certificate[] }> => {
    const text = await read(flag, path);
    const parts = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
    if (parts.length === 0) throw unusable(flag, `${path} holds no certificate in PEM form`);
    try {
      return { text: parts.join('\n'), all: parts.map((part) => new X509Certificate(part)) };
    } catch (error) {
      throw unusable(flag, `${path} holds a certificate that cannot be read: ${(error as Error).message}`, error);
    }
  };
  const chain = certFile === undefined ? undefined : await certificatesIn('cert-file', certFile);
  const authorities = trustedCaFile === undefined ? undefined : await certificatesIn('trusted-ca-file', trustedCaFile);
  let key: string | undefined;
  if (chain && keyFile !== undefined) {
    key = await read('key-file', keyFile);
    let parsed: KeyObject;
    try {
      parsed = createPrivateKey(key);
    } catch (error) {
      throw unusable('key-file', `${keyFile} holds no key in PEM form that is not encrypted`, error);
    }
    if (!chain.all[0]!.checkPrivateKey(parsed))
      throw unusable(
        'key-file',
        `${keyFile} is not the key of the certificate in ${certFile}: give those of one issue`,
      );
  }
  try {
    const context = createSecureContext({
      cert: chain?.text,
      key,
      ca: authorities?.text,
      minVersion: 'TLSv1.2',
      // As in Go: an authority may be an intermediate one without its root.
      allowPartialTrustChain: true,
      // Sessions are not taken up again by other processes, nor under certificates from before.
      sessionIdContext: `raftsman-${use}`,
    });
    const byEnd = (one: X509Certificate, other: X509Certificate): number => endOf(one) - endOf(other);
    return { context, leaf: chain?.all.toSorted(byEnd)[0], authority: authorities?.all.toSorted(byEnd).at(-1) };
  } catch (error) {
    throw unusable('cert-file', `${certFile ?? trustedCaFile} cannot be used: ${(error as Error).message}`, error);
  }
}
