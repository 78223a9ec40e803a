import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tool } from '../kubernetes/go-build.ts';
import { freePort } from '../ports.ts';

/** A real S3 server (versitygw, its posix backend) on a free port of 127.0.0.1. */
export interface S3Server {
  readonly endpoint: string;
  readonly port: number;
  readonly bucket: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  close(): Promise<void>;
}

export async function startS3(): Promise<S3Server> {
  const binary = await tool('versitygw');
  const folder = await mkdtemp(join(tmpdir(), 'raftsman-s3-'));
  const bucket = 'archives';
  await mkdir(join(folder, 'data', bucket), { recursive: true });
  await mkdir(join(folder, 'metadata'));
  const port = await freePort();
  const credentials = { accessKeyId: 'raftsman', secretAccessKey: 'raftsman-in-tests' };
  let said = '';
  const child: ChildProcess = spawn(
    binary,
    [`-listen=127.0.0.1:${port}`, `-data=${folder}/data`, `-metadata=${folder}/metadata`],
    {
      env: { ...process.env, ROOT_ACCESS_KEY: credentials.accessKeyId, ROOT_SECRET_KEY: credentials.secretAccessKey },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  for (const output of [child.stdout, child.stderr]) output?.on('data', (text: Buffer) => (said += text.toString()));
  const endpoint = `http://127.0.0.1:${port}`;
  const close = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(folder, { recursive: true, force: true });
  };
  for (;;) {
    if (child.exitCode !== null) {
      await close();
      throw new Error(`versitygw ended with status ${child.exitCode}: ${said}`);
    }
    const ready = await fetch(`${endpoint}/health`).then(
      (response) => response.ok,
      () => false,
    );
    if (ready) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { endpoint, port, bucket, credentials, close };
}
