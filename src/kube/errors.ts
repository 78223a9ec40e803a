/** The body that the API server sends with every failure. */
export interface Status {
  readonly kind?: string;
  readonly status?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly code?: number;
  readonly details?: {
    readonly retryAfterSeconds?: number;
    readonly causes?: readonly { readonly reason?: string; readonly message?: string; readonly field?: string }[];
  };
}

/** The API server answered, with a failure. `code` is `KUBE_<REASON>` such as `KUBE_NOT_FOUND`. */
export class ApiError extends Error {
  readonly code: string;
  /** HTTP status, or the `code` of an ERROR event in a watch. */
  readonly status: number;
  /** Kubernetes' reason, such as `NotFound`, `Conflict`, `AlreadyExists`, `Expired`, `Invalid`, `TooManyRequests`. */
  readonly reason: string;
  /** How long the server asks to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  readonly body: Status | undefined;

  constructor(request: string, status: number, body?: Status, retryAfterMs?: number) {
    const reason = body?.reason || reasonFor(status);
    super(`${request}: ${status} ${reason}${body?.message ? `: ${body.message}` : ''}`);
    this.name = 'ApiError';
    this.code = `KUBE_${reason.replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase()}`;
    this.status = status;
    this.reason = reason;
    const seconds = body?.details?.retryAfterSeconds;
    this.retryAfterMs = retryAfterMs ?? (seconds === undefined || seconds <= 0 ? undefined : seconds * 1000);
    this.body = body;
  }
}

/** No answer: connection refused or cut, time over, name not found. Worth another try. */
export class TransportError extends Error {
  readonly code: string = 'KUBE_UNREACHABLE';
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'TransportError';
  }
}

/** Configuration that cannot work: no kubeconfig, an unknown context, a file that is missing. */
export class ConfigurationError extends Error {
  readonly code: string = 'KUBE_CONFIGURATION';
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'ConfigurationError';
  }
}

function reasonFor(status: number): string {
  const reasons: Record<number, string> = {
    400: 'BadRequest',
    401: 'Unauthorized',
    403: 'Forbidden',
    404: 'NotFound',
    405: 'MethodNotAllowed',
    409: 'Conflict',
    410: 'Gone',
    413: 'RequestEntityTooLarge',
    415: 'UnsupportedMediaType',
    422: 'Invalid',
    429: 'TooManyRequests',
    500: 'InternalError',
    503: 'ServiceUnavailable',
    504: 'Timeout',
  };
  return reasons[status] ?? (status >= 500 ? 'InternalError' : 'Unknown');
}

const is = (status: number, reason?: string) => (error: unknown) =>
  error instanceof ApiError && error.status === status && (reason === undefined || error.reason === reason);

export const isNotFound: (error: unknown) => boolean = is(404);
export const isConflict: (error: unknown) => boolean = is(409, 'Conflict');
export const isAlreadyExists: (error: unknown) => boolean = is(409, 'AlreadyExists');
export const isInvalid: (error: unknown) => boolean = is(422);
/** The resource version or the continue token is too old: HTTP 410, or the same in an ERROR event. */
export const isGone: (error: unknown) => boolean = is(410);
