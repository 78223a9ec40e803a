/** Said in one line; the process ends with `exitCode`. */
export class NodeError extends Error {
  override readonly name = 'NodeError';
  readonly code: string;
  /** 2: the flags are wrong. 1: everything else. */
  readonly exitCode: 1 | 2;

  constructor(code: string, message: string, exitCode: 1 | 2 = 1, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.exitCode = exitCode;
  }
}

export const wrongFlag = (flag: string, message: string): NodeError =>
  new NodeError('NODE_FLAG_INVALID', `--${flag}: ${message}`, 2);
