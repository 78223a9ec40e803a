/** What a person would want to know, as events on the resource it is about. */
import type { EventInput } from '../kube/contract.ts';

export function note(reason: string, action: string, text: string): EventInput {
  return { type: 'Normal', reason, action, note: text };
}

/** Says what is wrong and what to do about it. */
export function warning(reason: string, action: string, text: string): EventInput {
  return { type: 'Warning', reason, action, note: text };
}
