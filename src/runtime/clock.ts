/** The clock of controllers. It is defined below us, in kube, because lists and leases wait as well. */
export { type Clock, pause, systemClock } from '../kube/clock.ts';
