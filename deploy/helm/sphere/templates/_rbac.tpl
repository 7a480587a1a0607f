{{/*
What the operator may do, each rule with its reason. "why" and "value" lines become the table in deploy/README.md
(make manifests); a rule without a reason is refused there.
*/}}

{{/* Where PredictiveAutoscalers are: all namespaces, or those of watchNamespaces. */}}
{{- define "sphere.rules.served" -}}
# why: which workloads are to be scaled, and how
- apiGroups: [autoscaling.sphere.dev]
  resources: [predictiveautoscalers]
  verbs: [get, list, watch]
# why: say what was decided and why; the spec belongs to its owner and can not be written
- apiGroups: [autoscaling.sphere.dev]
  resources: [predictiveautoscalers/status]
  verbs: [patch]
# why: the size of a target and which pods are its own
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale, replicasets/scale]
  verbs: [get]
{{- if .Values.rbac.watchTargets }}
# why: the same for all of them in one watch, where there are many; without it one request per target and sync
# value: rbac.watchTargets
- apiGroups: [apps]
  resources: [deployments, statefulsets, replicasets]
  verbs: [list, watch]
{{- end }}
{{- if .Values.rbac.scale }}
# why: change the size of a target, and nothing else of it (modes ScaleOut and Full)
# value: rbac.scale
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale, replicasets/scale]
  verbs: [update]
{{- end }}
{{- range .Values.rbac.extraScaleTargets }}
# why: the same for a further kind that you name
# value: rbac.extraScaleTargets
- apiGroups: [{{ .apiGroup }}]
  resources: [{{ .resource }}/scale]
  verbs: {{ if $.Values.rbac.scale }}[get, update]{{ else }}[get]{{ end }}
{{- end }}
# why: readiness, requests and start-up times of pods
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# why: does an HPA scale the same target? Then hands off, or raise its floor
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
{{- if .Values.rbac.floor }}
# why: raise minReplicas of an HPA ahead of demand (mode Floor)
# value: rbac.floor
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [patch]
{{- end }}
{{- if .Values.rbac.resourceMetrics }}
# why: CPU and memory in use now, for the reactive part (Resource metrics)
# value: rbac.resourceMetrics
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [list]
{{- end }}
{{- if .Values.rbac.customMetrics }}
# why: Pods and Object metrics of spec.metrics; each metric is a resource of its own name
# value: rbac.customMetrics
- apiGroups: [custom.metrics.k8s.io]
  resources: ["*"]
  verbs: [get, list]
{{- end }}
{{- if .Values.rbac.externalMetrics }}
# why: External metrics of spec.metrics; each metric is a resource of its own name
# value: rbac.externalMetrics
- apiGroups: [external.metrics.k8s.io]
  resources: ["*"]
  verbs: [get, list]
{{- end }}
# why: tell changes where the owner looks; patch counts a repeated event up
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What is cluster-scoped, for an installation that serves all namespaces. */}}
{{- define "sphere.rules.cluster" -}}
{{- if not .Values.watchNamespaces }}
# why: the annotation autoscaling.sphere.dev/disabled switches a namespace off
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end }}
{{- if .Values.rbac.nodes }}
# why: capacity of a pod without CPU request and limit is that of its node; without it the decision is reactive
# value: rbac.nodes
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end }}
{{- end -}}

{{/* The namespace itself, for an installation that serves listed ones: a Role in a namespace may allow to read it. */}}
{{- define "sphere.rules.namespace" -}}
# why: the annotation autoscaling.sphere.dev/disabled switches a namespace off
# value: watchNamespaces
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [{{ . }}]
  verbs: [get]
{{- end -}}

{{/* The operator's own namespace. */}}
{{- define "sphere.rules.own" -}}
# why: the lease that makes one operator the leader; a name can not be asked for before it exists
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
# why: hold, renew and hand over that lease
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [sphere-operator]
  verbs: [get, update]
# why: the kill switch; only people write it
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [sphere-kill-switch]
  verbs: [get, list, watch]
{{- if not (dig "redis" false .Values.config.store) }}
# why: what scaling must remember over a restart (windows, cooldowns, start-up times), where no Redis keeps it
# value: config.store
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
# why: read and replace that memory
# value: config.store
- apiGroups: [""]
  resources: [configmaps]
  resourceNames:
    {{- range until 16 }}
    - sphere-state-{{ . }}
    {{- end }}
  verbs: [get, update]
{{- end }}
{{- end -}}

{{- define "sphere.subject" -}}
- kind: ServiceAccount
  name: {{ include "sphere.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
