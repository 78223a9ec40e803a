/** What a schedule can be wrong about. The message names the field of the policy and says what would be right. */
export type ScheduleErrorCode = 'SCHEDULE_INVALID' | 'SCHEDULE_TIME_ZONE';

export class ScheduleError extends Error {
  override readonly name = 'ScheduleError';
  readonly code: ScheduleErrorCode;

  constructor(code: ScheduleErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
