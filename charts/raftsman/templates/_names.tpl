{{- define "raftsman.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "raftsman.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "raftsman.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "raftsman.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "raftsman.selector" -}}
app.kubernetes.io/name: raftsman
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "raftsman.labels" -}}
{{ include "raftsman.selector" . }}
app.kubernetes.io/part-of: raftsman
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* What the operator may do in the namespaces it watches: no more than its controllers call. */ -}}
{{- define "raftsman.rules" -}}
- apiGroups: [raftsman.dev]
  resources: [raftclusters, raftsnapshotstores, raftsnapshots, raftsnapshotpolicies, raftrestores, raftcompactions, raftcompactionpolicies]
  verbs: [get, list, watch]
- apiGroups: [raftsman.dev]
  resources: [raftclusters/status, raftsnapshotstores/status, raftsnapshots/status, raftsnapshotpolicies/status, raftrestores/status, raftcompactions/status, raftcompactionpolicies/status]
  verbs: [get, update, patch]
- apiGroups: [raftsman.dev]
  # A restore makes a cluster; a policy makes records and retires them; a snapshot holds a finalizer while its archive exists.
  resources: [raftclusters, raftsnapshots, raftcompactions]
  verbs: [create, patch]
- apiGroups: [raftsman.dev]
  resources: [raftsnapshots, raftcompactions]
  verbs: [delete]
- apiGroups: [raftsman.dev]
  # Owner references with blockOwnerDeletion need these where OwnerReferencesPermissionEnforcement is on.
  resources: [raftclusters/finalizers, raftsnapshots/finalizers, raftsnapshotpolicies/finalizers, raftrestores/finalizers]
  verbs: [update]
- apiGroups: [apps]
  # Deleted, its pods left alone, when disks have grown: it is made anew with a larger template of disks.
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  # Deleted when a cluster's spec wants none any more.
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  # A member that does not run what its cluster's spec says is replaced by deleting its pod, one at a time.
  resources: [pods]
  verbs: [get, list, watch, delete]
- apiGroups: [""]
  # A disk is marked with the cluster and member whose data it holds, so that its loss is never taken for a new cluster.
  # It is deleted only when that member has been removed from its cluster and another takes its place.
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [""]
  # Certificates of clusters are made, renewed and watched, by our own label; Kubernetes cannot narrow list and watch any
  # further. Others' Secrets are read by name only: those that a RaftCluster or RaftSnapshotStore names. None is deleted.
  resources: [secrets]
  verbs: [get, list, watch, create, update, patch]
{{- if .Values.certManager }}
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, create, patch]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}
