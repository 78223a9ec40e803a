import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** What one process of the operator measures. Each manager has a registry of its own: tests run several side by side. */
export interface RuntimeMetrics {
  readonly registry: Registry;
  readonly reconciles: Counter<'controller' | 'result'>;
  readonly reconcileSeconds: Histogram<'controller'>;
  readonly reconcilesActive: Gauge<'controller'>;
  readonly queueDepth: Gauge<'controller'>;
  readonly queueSeconds: Histogram<'controller'>;
  readonly reflector: Counter<'resource' | 'event'>;
  readonly cached: Gauge<'resource'>;
  readonly leader: Gauge;
  readonly requests: Gauge;
}

/** What is looked up when somebody asks for the metrics, instead of being kept at every change. */
export interface Lookups {
  /** Controllers and how many keys wait in the queue of each. */
  readonly queues: () => Iterable<readonly [controller: string, length: number]>;
  /** Kinds and how many objects of each are cached. */
  readonly caches: () => Iterable<readonly [resource: string, size: number]>;
  readonly requests: () => number;
}

const SECONDS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

export function createMetrics(lookups: Lookups): RuntimeMetrics {
  const registry = new Registry();
  const registers = [registry];
  const controller = ['controller'] as const;
  return {
    registry,
    reconciles: new Counter({
      name: 'raftsman_reconciles_total',
      help: 'Reconciles that ended, by result: success, requeue or error.',
      labelNames: ['controller', 'result'],
      registers,
    }),
    reconcileSeconds: new Histogram({
      name: 'raftsman_reconcile_seconds',
      help: 'How long a reconcile took.',
      labelNames: controller,
      buckets: SECONDS,
      registers,
    }),
    reconcilesActive: new Gauge({
      name: 'raftsman_reconciles_active',
      help: 'Reconciles under way.',
      labelNames: controller,
      registers,
    }),
    queueDepth: new Gauge({
      name: 'raftsman_queue_depth',
      help: 'Keys that wait for a worker.',
      labelNames: controller,
      registers,
      collect() {
        for (const [name, length] of lookups.queues()) this.set({ controller: name }, length);
      },
    }),
    queueSeconds: new Histogram({
      name: 'raftsman_queue_seconds',
      help: 'How long a key waited for a worker.',
      labelNames: controller,
      buckets: SECONDS,
      registers,
    }),
    reflector: new Counter({
      name: 'raftsman_reflector_events_total',
      help: 'What happened to lists and watches: list, watch (each start), event, stale, gone, stall, error, rewind.',
      labelNames: ['resource', 'event'],
      registers,
    }),
    cached: new Gauge({
      name: 'raftsman_cached_objects',
      help: 'Objects in the caches.',
      labelNames: ['resource'],
      registers,
      collect() {
        this.reset();
        for (const [resource, size] of lookups.caches()) this.inc({ resource }, size);
      },
    }),
    leader: new Gauge({ name: 'raftsman_leader', help: '1 while this process leads.', registers }),
    requests: new Gauge({
      name: 'raftsman_api_requests',
      help: 'Requests sent to the API server since the start, watches included.',
      registers,
      collect() {
        this.set(lookups.requests());
      },
    }),
  };
}

/** Memory, CPU and event loop of the process; costs timers, so tests leave it out. */
export function measureProcess(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
}
