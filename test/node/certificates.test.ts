/** Certificates in files, and connections that are secured with them. No process, no cluster. */
import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { newAuthority as authorityOfOperator, issueLeaf } from '../../src/controllers/tls/x509.ts';
import { createLog } from '../../src/log.ts';
import { Certificates } from '../../src/node/certificates.ts';
import { dialUrl, secureServer } from '../../src/node/secure.ts';
import type { TlsFiles } from '../../src/node/tls-flags.ts';
import { type Authority, issue, newAuthority, type Pair } from '../kubernetes/certificates.ts';
import { until } from './members.ts';
import { MountedSecret, serving } from './tls-files.ts';

let folder: string;
let lines: string[];
const log = createLog({ write: (line) => lines.push(line) });
const opened: Certificates[] = [];
const servers: Server[] = [];
const sockets: Socket[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-tls-'));
  lines = [];
});
afterEach(async () => {
  for (const certificates of opened.splice(0)) certificates.stop();
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => new Promise((done) => server.close(done))));
  await rm(folder, { recursive: true });
});

const ours = newAuthority('ours');
const others = newAuthority('others');

function filesIn(at: string, more: Partial<TlsFiles> = {}): TlsFiles {
  return {
    use: 'peer',
    certFile: join(at, 'tls.crt'),
    keyFile: join(at, 'tls.key'),
    trustedCaFile: join(at, 'ca.crt'),
    clientCertAuth: true,
    allowedCommonNames: [],
    allowedHostnames: [],
    ...more,
  };
}

let named = 0;
async function open(pair: Pair, authorities: readonly Authority[], more?: Partial<TlsFiles>): Promise<Certificates> {
  const { folder: at } = await MountedSecret.create(join(folder, `secret-${named++}`), { pair, authorities });
  return opening(filesIn(at, more));
}

async function opening(files: TlsFiles): Promise<Certificates> {
  const certificates = await Certificates.open(files, log);
  opened.push(certificates);
  return certificates;
}

/** Greets whoever gets in with one byte. */
async function listen(certificates: Certificates, host = '127.0.0.1'): Promise<{ url: string; refused: string[] }> {
  const refused: string[] = [];
  const server = secureServer({
    certificates,
    onConnection: (socket) =>
      socket
        .on('error', () => {})
        .resume()
        .write('!'),
    onRefused: (address, reason) => refused.push(`${address}: ${reason}`),
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `https://${host}:${(server.address() as AddressInfo).port}`, refused };
}

interface Met {
  readonly socket: TLSSocket;
  readonly shown: X509Certificate;
}

/** Resolves when the server has greeted; rejects with why there is no secure connection. */
function meet(url: string, certificates: Certificates | undefined): Promise<Met> {
  return new Promise((resolve, reject) => {
    const { socket, onReady, explain } = dialUrl(url, certificates);
    sockets.push(socket);
    let error: Error = Object.assign(new Error('closed'), { code: 'ECONNRESET' });
    socket.on('error', (reason) => {
      error = reason;
    });
    socket.on('close', () => reject(explain(error)));
    onReady(() => socket.write('?'));
    socket.once('data', () => {
      resolve({ socket: socket as TLSSocket, shown: (socket as TLSSocket).getPeerX509Certificate()! });
    });
  });
}

describe('files', () => {
  const { certificate, key } = serving(ours);
  const encrypted = createPrivateKey(key)
    .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' })
    .toString();

  test.each([
    ['no certificate file', { crt: undefined }, /^--peer-cert-file: ENOENT.*tls\.crt': check the path/],
    ['no key file', { key: undefined }, /^--peer-key-file: ENOENT.*tls\.key'/],
    ['no file of authorities', { ca: undefined }, /^--peer-trusted-ca-file: ENOENT.*ca\.crt'/],
    ['a certificate that is none', { crt: 'nothing' }, /^--peer-cert-file: \S+tls\.crt holds no certificate in PEM/],
    ['an empty bundle', { ca: '' }, /^--peer-trusted-ca-file: \S+ca\.crt holds no certificate in PEM form/],
    [
      'a certificate that is cut',
      { crt: `${certificate.slice(0, 300)}\n-----END CERTIFICATE-----\n` },
      /^--peer-cert-file: \S+tls\.crt holds a certificate that cannot be read/,
    ],
    ['a certificate for a key', { key: certificate }, /^--peer-key-file: \S+tls\.key holds no key in PEM form/],
    ['a key that is encrypted', { key: encrypted }, /^--peer-key-file: \S+tls\.key holds no key .* not encrypted/],
    [
      'the key of another',
      { key: serving(ours).key },
      /^--peer-key-file: \S+tls\.key is not the key of the certificate in \S+tls\.crt/,
    ],
  ])('%s: an error that names flag and file', async (_, wrong, message) => {
    const all = { crt: certificate, key, ca: ours.certificate, ...wrong };
    const names = { crt: 'tls.crt', key: 'tls.key', ca: 'ca.crt' } as const;
    for (const name of ['crt', 'key', 'ca'] as const) {
      const text = all[name];
      if (text !== undefined) await writeFile(join(folder, names[name]), text);
    }
    await expect(opening(filesIn(folder))).rejects.toMatchObject({
      code: 'NODE_CERTIFICATE_UNUSABLE',
      exitCode: 1,
      message: expect.stringMatching(message),
    });
  });

  test('when they change, the next connection has the new ones, and one that there is stays', async () => {
    const secret = await MountedSecret.create(join(folder, 's'), { pair: serving(ours), authorities: [ours] });
    const certificates = await opening(filesIn(secret.folder));
    const { url } = await listen(certificates);
    const client = await open(serving(ours), [ours]);
    const before = await meet(url, client);

    const [renewed, broken] = [serving(ours), serving(ours)];
    await secret.swap({ pair: renewed, authorities: [ours, others] });
    const issued = issue(others, { commonName: 'new' });
    const stranger = await open({ ...issued }, [ours]);
    const after = await until('the new authority is trusted', () => meet(url, stranger));
    const { shown } = after;
    expect(shown.toString()).toBe(renewed.certificate);
    expect(before.shown.serialNumber).not.toBe(shown.serialNumber);
    expect(certificates.expiries).toEqual([
      { use: 'peer', certificate: 'leaf', at: shown.validToDate.getTime() / 1000 },
      { use: 'peer', certificate: 'authority', at: expect.any(Number) },
    ]);

    await secret.swap({ pair: { certificate: broken.certificate, key: renewed.key }, authorities: [ours] });
    await until('the complaint', async () => lines.some((line) => line.includes('cannot be used')));
    await secret.swap({ pair: { certificate: broken.certificate, key: renewed.key }, authorities: [ours] });
    expect((await meet(url, stranger)).shown.serialNumber).toBe(shown.serialNumber);

    const last = serving(ours);
    await secret.swap({ pair: last, authorities: [ours] });
    await until('the last ones', async () => (await meet(url, client)).shown.toString() === last.certificate);
    await expect(meet(url, stranger)).rejects.toThrow(/not accept the certificate/);
    expect(before.socket.destroyed).toBe(false);
    expect(lines.filter((line) => line.includes('the new certificates cannot be used'))).toHaveLength(1);
    expect(lines.filter((line) => line.includes('certificates read again'))).toHaveLength(2);
  });

  test('that end soon are warned about, once', async () => {
    const now = Date.now();
    const authority = authorityOfOperator('soon', { notBefore: now - 1000, notAfter: now + 3600_000 });
    const lifetime = { notBefore: now - 1000, notAfter: now + 60_000 };
    const pair = issueLeaf(
      authority,
      { commonName: 'm', hosts: ['localhost'], usages: ['server', 'client'] },
      lifetime,
    );
    await open(pair, [{ name: 'soon', ...authority }]);
    const warned = (): string[] => lines.filter((line) => line.includes('a certificate ends soon'));
    await until('the warning', async () => warned().length > 0);
    expect(warned()[0]).toContain(new Date(Math.floor(lifetime.notAfter / 1000) * 1000).toISOString());
  });
});

describe('a connection', () => {
  test('goes both ways with certificates of one authority, by name and by address', async () => {
    const certificates = await open(serving(ours), [ours]);
    const { url, refused } = await listen(certificates);
    for (const one of [url, url.replace('127.0.0.1', 'localhost')]) {
      const { socket } = await meet(one, certificates);
      expect(['TLSv1.2', 'TLSv1.3']).toContain(socket.getProtocol());
    }
    expect(refused).toEqual([]);
  });

  test('is refused without certificate, with one of another authority, and without TLS: both sides say why', async () => {
    const { url, refused } = await listen(await open(serving(ours), [ours]));
    const none = await open(serving(ours), [ours], { certFile: undefined, keyFile: undefined, clientCertAuth: false });
    await expect(meet(url, none)).rejects.toThrow('tlsv13 alert certificate required');
    await expect(meet(url, await open(serving(others), [ours]))).rejects.toThrow(/not accept the certificate/);
    await expect(meet(url, await open(serving(ours), [others]))).rejects.toMatchObject({
      code: 'PEER_NOT_SECURE',
      message: expect.stringMatching(/certificate/),
    });
    const plain = connect(Number(new URL(url).port), '127.0.0.1');
    plain.on('error', () => {});
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await once(plain.resume(), 'close');
    await until('three refusals', async () => refused.length >= 3);
    expect(refused).toEqual([
      '127.0.0.1: it shows no certificate',
      expect.stringMatching(/^127\.0\.0\.1: its certificate is not accepted \(UNABLE_TO_\w+\): is it of the/),
      expect.stringMatching(/^127\.0\.0\.1: it does not speak TLS/),
    ]);
  });

  test('is refused when the certificate is for another host, or nobody speaks TLS there', async () => {
    const elsewhere = issue(ours, { commonName: '127.0.0.1', hosts: ['elsewhere.example'] });
    const { url } = await listen(await open(elsewhere, [ours]));
    const client = await open(serving(ours), [ours]);
    await expect(meet(url, client)).rejects.toThrow(/IP: 127\.0\.0\.1 is not in the cert's list/);
    await expect(meet(url.replace('127.0.0.1', 'localhost'), client)).rejects.toThrow(/Host: localhost\. is not in/);
    const plain = createServer((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .end('what?'),
    );
    servers.push(plain);
    plain.listen(0, '127.0.0.1');
    await once(plain, 'listening');
    const { port } = plain.address() as AddressInfo;
    await expect(meet(`https://127.0.0.1:${port}`, client)).rejects.toMatchObject({ code: 'PEER_NOT_SECURE' });
  });

  test('is refused when the common name or the host is not one of those that are allowed, on either side', async () => {
    const [member, client] = [serving(ours), issue(ours, { commonName: 'client' })];
    const byName = await listen(await open(member, [ours], { allowedCommonNames: ['member', 'other'] }));
    const byHost = await listen(await open(member, [ours], { allowedHostnames: ['localhost'] }));
    const asMember = await open(member, [ours]);
    const asClient = await open(client, [ours]);
    for (const { url } of [byName, byHost]) {
      await meet(url, asMember);
      await expect(meet(url, asClient)).rejects.toThrow(/not accept the certificate/);
    }
    expect(byName.refused).toEqual([expect.stringMatching(/common name of its certificate is "client", which is not/)]);
    expect(byHost.refused).toEqual([expect.stringMatching(/its certificate is for no host, which is not allowed/)]);
    const picky = await open(member, [ours], { allowedCommonNames: ['somebody'] });
    await expect(meet(byName.url, picky)).rejects.toThrow('common name of its certificate is "member"');
  });

  test('holds with an intermediate authority alone, as with etcd', async () => {
    const intermediate = newAuthority('intermediate', ours);
    const certificates = await open(serving(intermediate), [intermediate]);
    await meet((await listen(certificates)).url, certificates);
  });

  test('holds with two authorities of one name, whichever comes first, as while one takes over from the other', async () => {
    const lifetime = { notBefore: Date.now() - 1000, notAfter: Date.now() + 3600_000 * 48 };
    const [first, second] = [authorityOfOperator('same', lifetime), authorityOfOperator('same', lifetime)];
    const leaf = { commonName: 'm', hosts: ['localhost'], usages: ['server', 'client'] } as const;
    const bundle = [first, second].map((pair) => ({ name: 'same', ...pair }));
    const sides = await Promise.all(
      [first, second].map((authority) => open(issueLeaf(authority, leaf, lifetime), bundle)),
    );
    for (const server of sides) {
      const { url } = await listen(server);
      for (const client of sides) await meet(url.replace('127.0.0.1', 'localhost'), client);
    }
  });

  test('that is not secured in time is ended', async () => {
    const { url, refused } = await listen(await open(serving(ours), [ours]));
    const silent = connect(Number(new URL(url).port), '127.0.0.1');
    await once(silent.resume(), 'close');
    expect(refused).toEqual(['127.0.0.1: it did not finish the handshake within 5000 ms']);
  });

  test('that is never secured does not keep the server from closing', async () => {
    const { url } = await listen(await open(serving(ours), [ours]));
    const silent = connect(Number(new URL(url).port), '127.0.0.1');
    silent.on('error', () => {});
    await once(silent, 'connect');
    await Promise.all([once(silent.resume(), 'close'), new Promise((done) => servers.pop()!.close(done))]);
  });
});
