import { embedded } from './engines.ts';
import { tellDay } from './whole-day.ts';

tellDay(embedded);
