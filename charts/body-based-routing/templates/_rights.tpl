{{/*
Every right there is, each with its reason: README.md's table is made of these comments.
*/}}
{{- define "bbr.rules.cluster" -}}
# which classes name this controller
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get, list, watch]
# tell that a class is accepted
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status]
  verbs: [patch, update]
# labels of namespaces, for a listener's allowedRoutes
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end -}}

{{- define "bbr.rules.namespaced" -}}
# addresses and readiness of model servers
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# adapters and their base models
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
# the pools
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get, list, watch]
{{- if include "bbr.routes" . }}
# tell that a pool is accepted and its references are good
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools/status]
  verbs: [patch, update]
# gateways, their routes, and grants for references into other namespaces
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, httproutes, referencegrants]
  verbs: [get, list, watch]
# tell whether gateways and routes are accepted, programmed, resolved
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways/status, httproutes/status]
  verbs: [patch, update]
{{- end }}
{{- end -}}

{{- define "bbr.rules.own" -}}
# the addresses and ports of its own Service, for the Gateway's status
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ include "bbr.name" . }}]
  verbs: [get, list, watch]
{{- end -}}
