import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { Log } from '../log.ts';
import { type Outcome, type Phase, type Progress, terminationMessageLimit } from './result.ts';

/** Where a job is, as its progress server tells it. */
export class Tracker {
  #progress: Progress = { phase: 'Starting', bytes: 0 };

  get progress(): Progress {
    return this.#progress;
  }

  at(phase: Phase, bytes: number, totalBytes?: number): void {
    // 100 is kept for the end: a reader takes it for success.
    const percent = totalBytes === undefined || totalBytes === 0 ? 0 : Math.floor((bytes / totalBytes) * 100);
    this.#progress = {
      phase,
      bytes,
      ...(totalBytes === undefined ? {} : { totalBytes, percent: phase === 'Done' ? 100 : Math.min(percent, 99) }),
    };
  }

  done(): void {
    const { bytes, totalBytes } = this.#progress;
    this.at('Done', totalBytes ?? bytes, totalBytes ?? bytes);
  }
}

/** Serves `GET /progress`. A job without it still does its work, so a port in use is a warning. */
export async function serveProgress(tracker: Tracker, port: number, log: Log): Promise<Server | undefined> {
  const server = createServer((request, response) => {
    const found = request.url === '/progress' && (request.method === 'GET' || request.method === 'HEAD');
    const body = found ? JSON.stringify(tracker.progress) : '{"error":"only GET /progress is here"}';
    response.writeHead(found ? 200 : 404, { 'content-type': 'application/json', connection: 'close' }).end(body);
  });
  return new Promise((resolve) => {
    server.once('error', (error) => {
      log.warn('cannot serve progress', { port, error });
      resolve(undefined);
    });
    server.listen(port, () => resolve(server));
  });
}

/** The outcome as JSON that fits a termination message, its error message shortened where it must be. */
export function terminationMessage(outcome: Outcome): string {
  const whole = JSON.stringify(outcome);
  const excess = Buffer.byteLength(whole) - terminationMessageLimit;
  if (excess <= 0 || !('error' in outcome)) return whole;
  const { error } = outcome;
  // Escapes take up to six bytes a character, so that shortening is by trial.
  for (let keep = error.message.length - 1; keep > 0; keep = Math.floor(keep * 0.9)) {
    const text = JSON.stringify({ error: { ...error, message: `${error.message.slice(0, keep)}…` } });
    if (Buffer.byteLength(text) <= terminationMessageLimit) return text;
  }
  return JSON.stringify({ error: { ...error, message: '' } });
}

export async function leaveTerminationMessage(path: string, outcome: Outcome, log: Log): Promise<void> {
  try {
    await writeFile(path, terminationMessage(outcome));
  } catch (error) {
    log.warn('cannot leave a termination message', { path, error });
  }
}
