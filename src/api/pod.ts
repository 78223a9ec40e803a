/** What people may set on the pods of a cluster: where they run and what they get. The shapes are Kubernetes' own. */
import { Type } from 'typebox';
import { choice, integer, listOf, mapOf, nameOf, quantity, text } from './schema.ts';

const labelKey = (description: string) => Type.String({ description, minLength: 1, maxLength: 317 });
const labelValue = text('A value.', 63);

const expressions = (description: string, operators: readonly string[]) =>
  Type.Optional(
    listOf(
      Type.Object(
        {
          key: labelKey('The label key.'),
          operator: choice(operators, 'How the value of the label relates to values.'),
          values: Type.Optional(
            listOf(labelValue, { description: 'The values; none for Exists and DoesNotExist.', maxItems: 64 }),
          ),
        },
        { description: 'A requirement on one label.' },
      ),
      { description, maxItems: 32 },
    ),
  );

export const labelSelector = (description: string) =>
  Type.Optional(
    Type.Object(
      {
        matchLabels: Type.Optional(
          mapOf(labelValue, { description: 'Labels that must have exactly these values.', maxProperties: 32 }),
        ),
        matchExpressions: expressions('Requirements on labels, all of which must hold.', [
          'In',
          'NotIn',
          'Exists',
          'DoesNotExist',
        ]),
      },
      { description },
    ),
  );

const nodeOperators = ['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt'];

const nodeSelectorTerm = (description: string) =>
  Type.Object(
    {
      matchExpressions: expressions('Requirements on labels of the node, all of which must hold.', nodeOperators),
      matchFields: expressions('Requirements on fields of the node, all of which must hold.', nodeOperators),
    },
    { description },
  );

const weight = integer('How much a match counts, beside others.', { minimum: 1, maximum: 100 });

const nodeAffinity = Type.Object(
  {
    requiredDuringSchedulingIgnoredDuringExecution: Type.Optional(
      Type.Object(
        {
          nodeSelectorTerms: listOf(nodeSelectorTerm('A set of requirements on a node.'), {
            description: 'Terms, one of which must hold.',
            maxItems: 16,
          }),
        },
        { description: 'A node that does not match gets no member.' },
      ),
    ),
    preferredDuringSchedulingIgnoredDuringExecution: Type.Optional(
      listOf(
        Type.Object(
          { weight, preference: nodeSelectorTerm('What is preferred of a node.') },
          { description: 'A preference with its weight.' },
        ),
        { description: 'Nodes that match are preferred, by the sum of the weights.', maxItems: 16 },
      ),
    ),
  },
  { description: 'Which nodes members may or should run on.' },
);

const podAffinityTerm = (description: string) =>
  Type.Object(
    {
      topologyKey: labelKey('The node label whose equal values make two nodes the same place.'),
      labelSelector: labelSelector('The pods that are meant.'),
      namespaceSelector: labelSelector('The namespaces of those pods, by label.'),
      namespaces: Type.Optional(
        listOf(text('A namespace.', 63), {
          description: 'The namespaces of those pods, by name.',
          maxItems: 32,
          set: true,
        }),
      ),
      matchLabelKeys: Type.Optional(
        listOf(labelKey('A label key.'), {
          description: 'Label keys whose values must equal those of the member itself.',
          maxItems: 16,
          set: true,
        }),
      ),
      mismatchLabelKeys: Type.Optional(
        listOf(labelKey('A label key.'), {
          description: 'Label keys whose values must differ from those of the member itself.',
          maxItems: 16,
          set: true,
        }),
      ),
    },
    { description },
  );

const podAffinity = (description: string, required: string, preferred: string) =>
  Type.Object(
    {
      requiredDuringSchedulingIgnoredDuringExecution: Type.Optional(
        listOf(podAffinityTerm('The pods in question, and what counts as the same place.'), {
          description: required,
          maxItems: 16,
        }),
      ),
      preferredDuringSchedulingIgnoredDuringExecution: Type.Optional(
        listOf(
          Type.Object(
            { weight, podAffinityTerm: podAffinityTerm('The pods in question, and what counts as the same place.') },
            { description: 'A preference with its weight.' },
          ),
          { description: preferred, maxItems: 16 },
        ),
      ),
    },
    { description },
  );

const affinity = Type.Object(
  {
    nodeAffinity: Type.Optional(nodeAffinity),
    podAffinity: Type.Optional(
      podAffinity(
        'Which pods members should run next to.',
        'A place without such pods gets no member.',
        'Places with such pods are preferred.',
      ),
    ),
    podAntiAffinity: Type.Optional(
      podAffinity(
        'Which pods members should keep away from.',
        'A place with such pods gets no member.',
        'Places without such pods are preferred.',
      ),
    ),
  },
  { description: 'Where the scheduler may and should place members. Default: spread over nodes where possible.' },
);

const toleration = Type.Object(
  {
    key: Type.Optional(text('The taint key; none, with operator Exists, means every taint.', 317)),
    operator: Type.Optional(choice(['Exists', 'Equal'], 'How value relates to the value of the taint.')),
    value: Type.Optional(text('The taint value.', 63)),
    effect: Type.Optional(
      choice(['NoSchedule', 'PreferNoSchedule', 'NoExecute'], 'The taint effect; none means every effect.'),
    ),
    tolerationSeconds: Type.Optional(
      integer('With NoExecute, how many seconds a member stays on the tainted node.', {
        minimum: 0,
        maximum: 2 ** 31 - 1,
        format: 'int64',
      }),
    ),
  },
  { description: 'A taint that members put up with.' },
);

const nodePolicies = ['Honor', 'Ignore'] as const;

const topologySpreadConstraint = Type.Object(
  {
    maxSkew: integer('By how many members two places may differ.', { minimum: 1, maximum: 100 }),
    topologyKey: labelKey('The node label whose equal values make two nodes the same place.'),
    whenUnsatisfiable: choice(['DoNotSchedule', 'ScheduleAnyway'], 'What to do where the skew cannot be kept.'),
    labelSelector: labelSelector('The pods that are counted. Default: the members of this cluster.'),
    minDomains: Type.Optional(
      integer('How many places there must be at least, with DoNotSchedule.', { minimum: 1, maximum: 1000 }),
    ),
    nodeAffinityPolicy: Type.Optional(choice(nodePolicies, 'Whether nodes that members cannot use are counted.')),
    nodeTaintsPolicy: Type.Optional(choice(nodePolicies, 'Whether tainted nodes are counted.')),
    matchLabelKeys: Type.Optional(
      listOf(labelKey('A label key.'), {
        description: 'Label keys whose values must equal those of the member itself.',
        maxItems: 16,
        set: true,
      }),
    ),
  },
  { description: 'How evenly members spread over places.' },
);

const quantities = (description: string) =>
  Type.Optional(mapOf(quantity('An amount, such as 500m or 512Mi.'), { description, maxProperties: 16 }));

export const resources = Type.Object(
  {
    requests: quantities('What each member is guaranteed, by resource name such as cpu and memory.'),
    limits: quantities('What each member may use at most, by resource name such as cpu and memory.'),
  },
  { description: 'Compute resources of the member container.' },
);

export const podTemplate = Type.Object(
  {
    metadata: Type.Optional(
      Type.Object(
        {
          labels: Type.Optional(
            mapOf(labelValue, {
              description: "Labels that every member gets. The operator's own labels win over these.",
              maxProperties: 32,
            }),
          ),
          annotations: Type.Optional(
            mapOf(text('A value.', 16384), { description: 'Annotations that every member gets.', maxProperties: 32 }),
          ),
        },
        { description: 'Labels and annotations of the pods.' },
      ),
    ),
    resources: Type.Optional(resources),
    nodeSelector: Type.Optional(
      mapOf(labelValue, { description: 'Labels that a node must have to run a member.', maxProperties: 32 }),
    ),
    tolerations: Type.Optional(listOf(toleration, { description: 'Taints that members put up with.', maxItems: 32 })),
    affinity: Type.Optional(affinity),
    topologySpreadConstraints: Type.Optional(
      listOf(topologySpreadConstraint, {
        description: 'How evenly members spread over zones, nodes and the like.',
        maxItems: 16,
        keys: ['topologyKey', 'whenUnsatisfiable'],
      }),
    ),
    priorityClassName: Type.Optional(nameOf('The PriorityClass of the pods.')),
    imagePullSecrets: Type.Optional(
      listOf(
        Type.Object({ name: nameOf('The name of the Secret.') }, { description: 'A Secret for pulling images.' }),
        { description: 'Secrets of this namespace that the image is pulled with.', maxItems: 16, keys: ['name'] },
      ),
    ),
    serviceAccountName: Type.Optional(
      nameOf('The ServiceAccount of the pods. Members use no API token, so the default one will do.'),
    ),
  },
  { description: 'What to set on the pods of the members, beyond what the operator needs.' },
);
