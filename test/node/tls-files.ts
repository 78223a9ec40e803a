/** Certificates in files as Kubernetes mounts a Secret: each file a symbolic link into a folder that is swapped whole. */
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClientTls } from '../../src/etcd/security.ts';
import { type Authority, issue, type Pair } from '../kubernetes/certificates.ts';

export interface Mounted {
  readonly pair: Pair;
  /** Trusted by whoever has these files. */
  readonly authorities: readonly Authority[];
}

const hosts = ['127.0.0.1', 'localhost'];

/** For a member, both ways, at this machine. */
export const serving = (authority: Authority, commonName = 'member'): Pair => issue(authority, { commonName, hosts });

export function clientOf(authority: Authority, trusted: readonly Authority[] = [authority]): ClientTls {
  const { certificate, key } = issue(authority, { commonName: 'client' });
  return { ca: bundle(trusted), cert: Buffer.from(certificate), key: Buffer.from(key) };
}

export const bundle = (authorities: readonly Authority[]): Buffer =>
  Buffer.from(authorities.map(({ certificate }) => certificate).join(''));

export class MountedSecret {
  readonly folder: string;
  #version = 0;

  static async create(folder: string, content: Mounted): Promise<MountedSecret> {
    const secret = new MountedSecret(folder);
    await mkdir(folder, { recursive: true });
    await secret.swap(content);
    for (const name of ['tls.crt', 'tls.key', 'ca.crt']) await symlink(join('..data', name), join(folder, name));
    return secret;
  }

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** All files become others at once. */
  async swap({ pair, authorities }: Mounted): Promise<void> {
    const version = `..${++this.#version}`;
    const folder = join(this.folder, version);
    await mkdir(folder);
    await writeFile(join(folder, 'tls.crt'), pair.certificate);
    await writeFile(join(folder, 'tls.key'), pair.key);
    await writeFile(join(folder, 'ca.crt'), bundle(authorities));
    await symlink(version, join(this.folder, '..next'));
    await rename(join(this.folder, '..next'), join(this.folder, '..data'));
  }

  /** What a member is told of it. */
  flags(use: 'client' | 'peer'): string[] {
    const prefix = use === 'peer' ? 'peer-' : '';
    return [
      `--${prefix}cert-file=${join(this.folder, 'tls.crt')}`,
      `--${prefix}key-file=${join(this.folder, 'tls.key')}`,
      `--${prefix}trusted-ca-file=${join(this.folder, 'ca.crt')}`,
      `--${prefix}client-cert-auth`,
    ];
  }
}
