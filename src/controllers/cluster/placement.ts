/** Where members run, unless the spec says otherwise: apart from each other, as far as there is room. Pure. */
import type { PodTemplate } from '../../api/cluster.ts';
import { memberSelector } from '../labels.ts';

type Json = Readonly<Record<string, unknown>>;

const ZONE = 'topology.kubernetes.io/zone';
const NODE = 'kubernetes.io/hostname';

/**
 * Members keep to different nodes and spread evenly over zones. Both are wishes, not demands: a cluster that must be
 * rescheduled onto fewer nodes than it has members is better off crowded than short of a member. What the spec says of
 * anti-affinity or of spreading takes the place of the one or the other, an empty value included.
 */
export function placement(cluster: string, template: PodTemplate | undefined): Json {
  const here = { labelSelector: { matchLabels: memberSelector(cluster) } };
  const apart = {
    preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: { topologyKey: NODE, ...here } }],
  };
  const spread = template?.topologySpreadConstraints ?? [
    // A node that is tainted against members is no place: counted, it would be the emptiest for ever.
    { maxSkew: 1, topologyKey: ZONE, whenUnsatisfiable: 'ScheduleAnyway' as const, nodeTaintsPolicy: 'Honor' as const },
  ];
  return {
    affinity: { podAntiAffinity: apart, ...template?.affinity },
    topologySpreadConstraints: spread.map((constraint) => ({ ...here, ...constraint })),
  };
}
