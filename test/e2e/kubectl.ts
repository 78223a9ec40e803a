/** kubectl as a person uses it: the story and the end-to-end tests see the same output that a user sees. */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

/** An object as kubectl prints it. Only what the stories read is named. */
export interface Printed {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly uid: string; readonly labels?: Record<string, string> };
  readonly spec?: Record<string, unknown>;
  /** Of a Secret, in base64. */
  readonly data?: Record<string, string>;
  readonly status?: Record<string, unknown> & { readonly conditions?: readonly Condition[] };
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

export interface KubectlOptions {
  readonly kubectl: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace: string;
}

export class KubectlError extends Error {
  override readonly name = 'KubectlError';
  readonly stderr: string;
  constructor(args: readonly string[], status: number | null, stderr: string) {
    super(`kubectl ${args.join(' ')} ended with ${status}: ${stderr.trim()}`);
    this.stderr = stderr;
  }
}

export class Kubectl {
  readonly namespace: string;
  readonly #options: KubectlOptions;

  constructor(options: KubectlOptions) {
    this.#options = options;
    this.namespace = options.namespace;
  }

  /** The kubeconfig that it uses, for clients that are not kubectl. */
  get kubeconfig(): string | undefined {
    return this.#options.kubeconfig;
  }

  in(namespace: string): Kubectl {
    return new Kubectl({ ...this.#options, namespace });
  }

  #spawn(args: readonly string[], stdin: 'pipe' | 'ignore'): ChildProcess {
    const { kubectl, kubeconfig, context, namespace } = this.#options;
    const all = [...(context === undefined ? [] : ['--context', context]), '--namespace', namespace, ...args];
    return spawn(kubectl, all, {
      stdio: [stdin, 'pipe', 'pipe'],
      env: { ...process.env, ...(kubeconfig === undefined ? {} : { KUBECONFIG: kubeconfig }) },
    });
  }

  /** Standard output; throws a KubectlError with standard error when it fails. */
  async run(args: readonly string[], input?: string): Promise<string> {
    const child = this.#spawn(args, input === undefined ? 'ignore' : 'pipe');
    let out = '';
    let err = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    if (input !== undefined) child.stdin!.end(input);
    const status = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject).on('close', resolve);
    });
    if (status !== 0) throw new KubectlError(args, status, err);
    return out;
  }

  /** `file` is a path, or a manifest: one in JSON, or one that holds a line end. */
  apply(file: string): Promise<string> {
    return file.includes('\n') || file.startsWith('{')
      ? this.run(['apply', '-f', '-'], file)
      : this.run(['apply', '-f', file]);
  }

  /** undefined when there is none. */
  async get(kind: string, name: string): Promise<Printed | undefined> {
    const text = await this.run(['get', kind, name, '--ignore-not-found', '-o', 'json']);
    return text.trim() === '' ? undefined : (JSON.parse(text) as Printed);
  }

  async list(kind: string, ...args: string[]): Promise<Printed[]> {
    return (JSON.parse(await this.run(['get', kind, ...args, '-o', 'json'])) as { items: Printed[] }).items;
  }

  /** Asks until `holds` returns something; the error after `timeoutMs` carries what was last seen. */
  async until<T>(
    what: string,
    timeoutMs: number,
    holds: () => Promise<T | undefined | false>,
    lastSeen: () => Promise<string> = async () => '',
  ): Promise<T> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const value = await holds();
      if (value !== undefined && value !== false) return value;
      if (performance.now() > end)
        throw new Error(`waited ${Math.round(timeoutMs / 1000)} s for ${what}\n${await lastSeen()}`);
      await delay(250);
    }
  }

  /** Waits for a condition of an object and returns the object; with `orFail`, throws as soon as that condition shows. */
  untilCondition(
    kind: string,
    name: string,
    wanted: { type: string; status: string },
    timeoutMs: number,
    onProgress: (object: Printed) => void = () => {},
  ): Promise<Printed> {
    return this.until(
      `${kind}/${name} to have ${wanted.type}=${wanted.status}`,
      timeoutMs,
      async () => {
        const object = await this.get(kind, name);
        if (object === undefined) return undefined;
        onProgress(object);
        const found = condition(object, wanted.type);
        if (wanted.status === 'True' && found && ['Failed', 'Rejected'].includes(found.reason))
          throw new Error(`${kind}/${name} is ${found.reason}: ${found.message}`);
        return found?.status === wanted.status ? object : undefined;
      },
      () => this.run(['describe', kind, name]).catch((error: Error) => error.message),
    );
  }

  /** Forwards a port of a Service or Pod to a free one of 127.0.0.1. `close` ends kubectl. */
  async forward(target: string, port: number): Promise<{ url: string; close(): void }> {
    const child = this.#spawn(['port-forward', target, `:${port}`, '--address', '127.0.0.1'], 'ignore');
    let err = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    const local = await new Promise<string>((resolve, reject) => {
      let out = '';
      child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        out += text;
        const match = /127\.0\.0\.1:(\d+) ->/.exec(out);
        if (match) resolve(match[1]!);
      });
      child
        .on('error', reject)
        .on('close', (status) => reject(new KubectlError(['port-forward', target], status, err)));
    });
    return { url: `http://127.0.0.1:${local}`, close: () => void child.kill('SIGTERM') };
  }
}

export function condition(object: Printed | undefined, type: string): Condition | undefined {
  return object?.status?.conditions?.find((one) => one.type === type);
}
