import { type Clock, systemClock } from './clock.ts';
import type { Connection } from './connection.ts';
import {
  type CallOptions,
  FIELD_MANAGER,
  type KubeClient,
  type ListOptions,
  type Page,
  type PatchOptions,
  type WatchEvent,
  type WatchOptions,
} from './contract.ts';
import { ApiError, isGone, isNotFound, type Status, TransportError } from './errors.ts';
import { apiVersionOf, type KubeObject, type Live, type ObjectRef, type ResourceType } from './objects.ts';
import { type Call, createTransport, type Transport } from './transport.ts';

export interface ClientOptions {
  readonly clock?: Clock;
  /** Called before every request that writes; a throw keeps it from being sent (a leader that may no longer lead). */
  readonly fence?: () => void;
}

const TIMEOUT_MS = 30_000;
/** A page of objects from a busy server may take its time. */
const LIST_TIMEOUT_MS = 60_000;
const PAGE = 500;

export function createClient(connection: Connection, options: ClientOptions = {}): KubeClient {
  return clientOver(createTransport(connection, options.clock ?? systemClock), connection.namespace, options.fence);
}

function clientOver(transport: Transport, namespace: string, fence?: () => void): KubeClient {
  const send = async (
    call: Omit<Call, 'timeoutMs'>,
    options: CallOptions = {},
    timeoutMs = TIMEOUT_MS,
  ): Promise<unknown> => {
    if (call.method !== 'GET') fence?.();
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    return await transport.json({ ...call, ...signal, timeoutMs: options.timeoutMs ?? timeoutMs });
  };
  const read = (path: string, options?: CallOptions) => send({ method: 'GET', path, repeatable: true }, options);

  const client: KubeClient = {
    namespace,
    get requests() {
      return transport.requests;
    },
    fenced: (guard) => clientOver(transport, namespace, guard),
    close: () => transport.close(),

    async get<T extends KubeObject>(type: ResourceType<T>, ref: ObjectRef, options?: CallOptions) {
      return (await read(pathOf(type, ref), options)) as Live<T>;
    },
    async find(type, ref, options) {
      try {
        return await client.get(type, ref, options);
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
    async list<T extends KubeObject>(type: ResourceType<T>, options: ListOptions = {}) {
      const { limit, continue: token, resourceVersion, resourceVersionMatch } = options;
      const query = { ...selection(options), limit, continue: token, resourceVersion, resourceVersionMatch };
      const path = pathOf(type, options, undefined, query);
      const body = await send({ method: 'GET', path, repeatable: true }, options, LIST_TIMEOUT_MS);
      return pageOf<T>(type, body);
    },
    async listAll<T extends KubeObject>(type: ResourceType<T>, options: ListOptions = {}) {
      // A token that expires midway (410) means the list took longer than the server's history. Begin again; if it
      // happens twice, ask for everything at once: dear, but it cannot expire.
      for (const limit of [PAGE, PAGE, undefined]) {
        try {
          return await pages<T>(type, options, limit);
        } catch (error) {
          if (!isGone(error) || limit === undefined) throw error;
        }
      }
      throw new Error('unreachable: the last list has no pages');
    },
    async create<T extends KubeObject>(type: ResourceType<T>, object: T, options?: CallOptions) {
      const path = pathOf(type, namespaceOf(object));
      return (await send({ method: 'POST', path, body: object, repeatable: false }, options)) as Live<T>;
    },
    async replace<T extends KubeObject>(type: ResourceType<T>, object: T, options?: PatchOptions) {
      const path = pathOf(type, object.metadata, options?.subresource);
      return (await send({ method: 'PUT', path, body: object, repeatable: true }, options)) as Live<T>;
    },
    apply: (type, object, options) => applyAt(type, object, undefined, object, options),
    applyStatus: (type, object, options) => {
      const { name, namespace: space } = object.metadata;
      const metadata = space === undefined ? { name } : { name, namespace: space };
      const { status } = object as { status?: unknown };
      return applyAt(
        type,
        object,
        'status',
        { apiVersion: object.apiVersion, kind: object.kind, metadata, status },
        options,
      );
    },
    async patch<T extends KubeObject>(
      type: ResourceType<T>,
      ref: ObjectRef,
      patch: readonly unknown[] | Readonly<Record<string, unknown>>,
      options?: PatchOptions,
    ) {
      const contentType = Array.isArray(patch) ? 'application/json-patch+json' : 'application/merge-patch+json';
      const path = pathOf(type, ref, options?.subresource, { fieldManager: FIELD_MANAGER });
      const repeatable = !Array.isArray(patch);
      return (await send({ method: 'PATCH', path, body: patch, contentType, repeatable }, options)) as Live<T>;
    },
    async delete(type, ref, options = {}) {
      const body = {
        kind: 'DeleteOptions',
        apiVersion: 'v1',
        propagationPolicy: options.propagationPolicy ?? 'Background',
        ...(options.gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: options.gracePeriodSeconds }),
        ...(options.preconditions === undefined ? {} : { preconditions: options.preconditions }),
      };
      try {
        await send({ method: 'DELETE', path: pathOf(type, ref), body, repeatable: true }, options);
        return true;
      } catch (error) {
        if (isNotFound(error)) return false;
        throw error;
      }
    },
    watch: (type, options) => watch(transport, type, options),
    async version(options) {
      return ((await read('/version', options)) as { gitVersion: string }).gitVersion;
    },
  };

  async function applyAt<T extends KubeObject>(
    type: ResourceType<T>,
    object: T,
    subresource: string | undefined,
    body: unknown,
    options: { fieldManager?: string; dryRun?: boolean } & CallOptions = {},
  ): Promise<Live<T>> {
    const fieldManager = options.fieldManager ?? FIELD_MANAGER;
    const dryRun = options.dryRun ? 'All' : undefined;
    const path = pathOf(type, object.metadata, subresource, { fieldManager, force: 'true', dryRun });
    const contentType = 'application/apply-patch+yaml';
    return (await send({ method: 'PATCH', path, body, contentType, repeatable: true }, options)) as Live<T>;
  }

  async function pages<T extends KubeObject>(
    type: ResourceType<T>,
    options: ListOptions,
    limit: number | undefined,
  ): Promise<Page<T>> {
    const items: Live<T>[] = [];
    let token: string | undefined;
    for (;;) {
      const page: Page<T> = await client.list<T>(type, {
        ...options,
        ...(limit === undefined ? {} : { limit }),
        ...(token === undefined ? {} : { continue: token }),
      });
      for (const item of page.items) items.push(item);
      token = page.continue;
      if (token === undefined) return { items, resourceVersion: page.resourceVersion };
    }
  }

  return client;
}

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

function selection(options: ListOptions | WatchOptions): Query {
  return { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
}

function namespaceOf(object: KubeObject): { namespace?: string } {
  return object.metadata.namespace === undefined ? {} : { namespace: object.metadata.namespace };
}

/** The URL path of a collection (no name) or an object. */
export function pathOf(
  type: ResourceType,
  where: { readonly namespace?: string; readonly name?: string },
  subresource?: string,
  query: Query = {},
): string {
  if (type.namespaced && where.namespace === undefined && where.name !== undefined) {
    throw new TypeError(`${type.kind} ${where.name} needs metadata.namespace`);
  }
  const path = [type.group === '' ? '/api/v1' : `/apis/${apiVersionOf(type)}`];
  if (type.namespaced && where.namespace !== undefined) path.push('namespaces', encodeURIComponent(where.namespace));
  path.push(type.plural);
  if (where.name !== undefined) path.push(encodeURIComponent(where.name));
  if (subresource !== undefined) path.push(subresource);
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== '') search.set(name, `${value}`);
  return search.size === 0 ? path.join('/') : `${path.join('/')}?${search}`;
}

/** Items of a list carry neither kind nor apiVersion; watched objects do. Here both have one shape. */
function pageOf<T extends KubeObject>(type: ResourceType<T>, body: unknown): Page<T> {
  const list = body as {
    items?: Live<T>[] | null;
    metadata?: { resourceVersion?: string; continue?: string };
  };
  if (list.metadata?.resourceVersion === undefined) {
    throw new TransportError(
      `the list of ${type.plural} has no metadata.resourceVersion: is this a Kubernetes API server?`,
    );
  }
  const apiVersion = apiVersionOf(type);
  const items = (list.items ?? []).map((item) => ({ ...item, apiVersion, kind: type.kind }));
  const token = list.metadata.continue;
  return { items, resourceVersion: list.metadata.resourceVersion, ...(token ? { continue: token } : {}) };
}

async function* watch<T extends KubeObject>(
  transport: Transport,
  type: ResourceType<T>,
  options: WatchOptions,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  const what = `watch of ${type.plural}`;
  const path = pathOf(type, options.namespace === undefined ? {} : { namespace: options.namespace }, undefined, {
    ...selection(options),
    watch: true,
    allowWatchBookmarks: true,
    resourceVersion: options.resourceVersion,
    timeoutSeconds: options.timeoutSeconds,
  });
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const response = await transport.stream({ method: 'GET', path, timeoutMs: TIMEOUT_MS, repeatable: true, ...signal });
  try {
    let rest: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) {
      let from = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
        rest.push(chunk.subarray(from, end));
        const line = rest.length === 1 ? rest[0] : Buffer.concat(rest);
        rest = [];
        from = end + 1;
        if (line !== undefined && line.length > 0) yield eventOf<T>(what, line.toString('utf8'));
      }
      // A copy: the rest of a chunk must not keep the whole of it alive.
      if (from < chunk.length) rest.push(from === 0 ? chunk : Buffer.from(chunk.subarray(from)));
    }
    if (rest.length > 0) throw new TransportError(`${what}: cut in the middle of an event`);
  } catch (error) {
    if (error instanceof TransportError || error instanceof ApiError) throw error;
    throw new TransportError(`${what}: ${error instanceof Error ? error.message : String(error)}`, error);
  } finally {
    response.destroy();
  }
}

function eventOf<T extends KubeObject>(what: string, line: string): WatchEvent<T> {
  let event: { type?: string; object?: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (error) {
    throw new TransportError(`${what}: an event is not JSON: ${line.slice(0, 80)}`, error);
  }
  switch (event.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type: event.type, object: event.object as Live<T> };
    case 'BOOKMARK':
      return { type: 'BOOKMARK', resourceVersion: (event.object as Live<T>).metadata.resourceVersion };
    case 'ERROR': {
      const status = event.object as Status;
      throw new ApiError(what, status.code ?? 500, status);
    }
    default:
      throw new TransportError(`${what}: unknown event type ${event.type}`);
  }
}
