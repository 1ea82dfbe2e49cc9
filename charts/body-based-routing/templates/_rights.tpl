{{/*
Every right there is, each with its reason: README.md's table is made of these comments.
*/}}
{{- define "bbr.rules.cluster" -}}
# which classes name this controller
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [list, watch]
# tell that a class is accepted
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status]
  verbs: [patch]
# labels of namespaces, for a listener's allowedRoutes
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end -}}

{{- define "bbr.rules.namespaced" -}}
# addresses and readiness of model servers
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# adapters and their base models
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch]
# the pools
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [list, watch]
{{- if include "bbr.routes" . }}
# tell that a pool is accepted and its references are good
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools/status]
  verbs: [patch]
# gateways, their routes, and grants for references into other namespaces
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, httproutes, referencegrants]
  verbs: [list, watch]
# tell whether gateways and routes are accepted, programmed, resolved
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways/status, httproutes/status]
  verbs: [patch]
{{- end }}
{{- end -}}

{{- define "bbr.rules.own" -}}
# the addresses and ports of its own Service, for the Gateway's status
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ include "bbr.name" . }}]
  verbs: [list, watch]
{{- end -}}
