/** Something that stops the local Kubernetes, told in one line that says what to do. `code` is stable. */
export type FailureCode =
  | 'NOT_LINUX'
  | 'NOT_ROOT'
  | 'MISSING_COMMAND'
  | 'NO_GO'
  | 'GO_TOO_OLD'
  | 'NO_DISK'
  | 'NO_NAMESPACES'
  | 'NO_ADDRESSES'
  | 'BUILD_FAILED'
  | 'DOWNLOAD_FAILED'
  | 'COMMAND_FAILED'
  | 'PART_DIED'
  | 'TIMED_OUT'
  | 'BAD_ARGUMENT'
  | 'NO_CLUSTER'
  | 'API_FAILED';

export class Failure extends Error {
  readonly code: FailureCode;

  constructor(code: FailureCode, message: string) {
    super(message);
    this.name = 'Failure';
    this.code = code;
  }
}
