/** Who may connect to members: what a RaftCluster's NetworkPolicy is made from. The shapes are Kubernetes' own. */
import { type Static, Type } from 'typebox';
import { labelSelector } from './pod.ts';
import { flag, listOf, rules } from './schema.ts';

const addresses = (description: string) =>
  Type.String({ description, minLength: 1, maxLength: 64, pattern: '^[0-9a-fA-F:.]+/[0-9]{1,3}$' });

const peer = Type.Object(
  {
    podSelector: labelSelector('Pods, of the namespaces that namespaceSelector selects or else of this one.'),
    namespaceSelector: labelSelector('Namespaces, by label; an empty selector means every namespace.'),
    ipBlock: Type.Optional(
      Type.Object(
        {
          cidr: addresses('A range of addresses, such as 10.0.0.0/8.'),
          except: Type.Optional(
            listOf(addresses('A range within cidr.'), {
              description: 'Ranges within cidr that are not meant.',
              maxItems: 32,
              set: true,
            }),
          ),
        },
        { description: 'Addresses, for clients that are no pods.' },
      ),
    ),
  },
  {
    description: 'Who may connect: pods by selectors, or a range of addresses.',
    ...rules({
      rule: 'has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))',
      message:
        'spec.networkPolicy.clients must each have either ipBlock, or podSelector, namespaceSelector or both of these',
    }),
  },
);

export const networkPolicy = Type.Object(
  {
    enabled: flag(
      'Whether a NetworkPolicy guards the members: peers only from members of this cluster, clients as clients says.',
      true,
    ),
    clients: Type.Optional(
      listOf(peer, {
        description:
          'Who may connect as a client, beside the operator and the Jobs of this cluster. Default: every pod of this namespace. An empty list: nobody else.',
        maxItems: 32,
      }),
    ),
  },
  { description: 'Who may connect to the members, where the network of the Kubernetes enforces it.', default: {} },
);

export type NetworkPolicySettings = Static<typeof networkPolicy>;
