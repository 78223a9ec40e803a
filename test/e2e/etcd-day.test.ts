import { etcd } from './engines.ts';
import { tellDay } from './whole-day.ts';

tellDay(etcd);
