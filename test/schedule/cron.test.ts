import { describe, expect, test } from '@jest/globals';
import { parseSchedule, ScheduleError } from '../../src/schedule/index.ts';
import { golden } from './golden.ts';

function refusal(expression: string, timeZone?: string): ScheduleError | undefined {
  try {
    parseSchedule(expression, timeZone);
    return undefined;
  } catch (error) {
    if (error instanceof ScheduleError) return error;
    throw error;
  }
}

/** Where we differ from CronJob's parser on purpose, and what we say. */
const onPurpose: Readonly<Record<string, boolean>> = {
  '0 0 * * 7': true,
  '0 0 * * 0-7': true,
  'TZ=UTC 0 0 * * *': false,
  'CRON_TZ=Europe/Berlin 0 0 * * *': false,
  '@every 1h': false,
};

describe('an expression', () => {
  test(`is valid where CronJob's parser says so, but for ${Object.keys(onPurpose).join('; ')}`, () => {
    expect(golden.parse.length).toBeGreaterThan(60);
    const got = golden.parse.map(({ expression }) => ({ expression, valid: refusal(expression) === undefined }));
    expect(got).toEqual(
      golden.parse.map(({ expression, valid }) => ({ expression, valid: onPurpose[expression] ?? valid })),
    );
  });

  test.each([
    ['', 'must have five fields (minute, hour, day of month, month, day of week), but has 0'],
    ['0 0 * * * *', 'but has 6'],
    ['61 * * * *', 'minute "61": 61 is not from 0 to 59'],
    ['0 24 * * *', 'hour "24": 24 is not from 0 to 23'],
    ['0 0 0 * *', 'day of month "0": 0 is not from 1 to 31'],
    ['0 0 * JUNE *', 'month "JUNE": "JUNE" is not a number from 1 to 12 or one of JAN, FEB'],
    ['0 0 * * 8', 'day of week "8": 8 is not from 0 to 7'],
    ['0 0 * * FRI-MON', 'the range FRI-MON ends before it starts'],
    ['*/0 * * * *', 'a step must be at least 1'],
    ['1,,2 * * * *', 'minute "1,,2": "" is not a value'],
    ['*-5 * * * *', 'a range cannot start with *'],
    ['@reboot', '@reboot is not one of @yearly, @annually, @monthly'],
    ['@every 1h', '@every is not one of'],
    ['TZ=UTC 0 0 * * *', 'put the time zone into timeZone'],
  ])('%j is refused with a message that says what is wrong', (expression, message) => {
    const error = refusal(expression);
    expect(error).toMatchObject({ code: 'SCHEDULE_INVALID' });
    expect(error?.message).toContain(`schedule ${JSON.stringify(expression)}`);
    expect(error?.message).toContain(message);
  });

  test('weekday 7 is Sunday, alone and at the end of a range', () => {
    expect([...parseSchedule('0 0 * * 7').daysOfWeek]).toEqual([0]);
    expect([...parseSchedule('0 0 * * 5-7').daysOfWeek].sort()).toEqual([0, 5, 6]);
    expect([...parseSchedule('0 0 * * 5/2').daysOfWeek]).toEqual([5]);
    expect([...parseSchedule('0 0 * * *').daysOfWeek]).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });
});

describe('a time zone', () => {
  test.each(['UTC', 'Etc/UTC', 'Europe/Berlin', 'America/Argentina/Buenos_Aires', 'Etc/GMT+5', 'EST5EDT'])(
    '%s is known',
    (zone) => expect(refusal('@daily', zone)).toBeUndefined(),
  );

  test.each(['', 'Local', 'local', 'Europe/Berlim', '+02:00', 'UTC+2', '../etc/passwd', 'Europe/Berlin '])(
    '%j is refused with its name',
    (zone) => {
      expect(refusal('@daily', zone)).toMatchObject({ code: 'SCHEDULE_TIME_ZONE' });
      expect(refusal('@daily', zone)?.message).toContain(`timeZone ${JSON.stringify(zone)}`);
    },
  );
});
