{{/* Everything of a release bears one name: bbr.name, as in the Envoy-based chart. */}}
{{- define "bbr.name" -}}
{{- .Values.bbr.name -}}
{{- end -}}

{{- define "bbr.selector" -}}
app: {{ include "bbr.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "bbr.labels" -}}
{{ include "bbr.selector" . }}
app.kubernetes.io/name: body-based-routing
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "bbr.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "bbr.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-wide objects of two releases must not meet. */}}
{{- define "bbr.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "bbr.name" .) -}}
{{- end -}}

{{- define "bbr.image" -}}
{{- $i := .image -}}
{{- $path := $i.repository -}}
{{- with $i.name -}}{{- $path = . -}}{{- end -}}
{{- with ($i.registry | default $i.hub) -}}{{- $path = printf "%s/%s" . $path -}}{{- end -}}
{{- $tag := $i.tag | default .tag -}}
{{- if hasPrefix "sha256:" $tag -}}
{{- printf "%s@%s" $path $tag -}}
{{- else -}}
{{- printf "%s:%s" $path $tag -}}
{{- end -}}
{{- end -}}

{{/* Whether objects of Gateway API are ours to watch. */}}
{{- define "bbr.routes" -}}
{{- if eq .Values.kubernetes.routing "httproutes" }}yes{{ end -}}
{{- end -}}

{{/* The agent's configuration: what the chart knows, and over it agent.config. */}}
{{- define "bbr.agent" -}}
{{- $level := "info" -}}
{{- if ge (int .Values.bbr.flags.v) 4 }}{{ $level = "debug" }}{{ end -}}
{{- if eq (int .Values.bbr.flags.v) 0 }}{{ $level = "warning" }}{{ end -}}
listen:
  spop: unix@/run/spoa-inference/spop.sock
  # the socket for HAProxy, loopback for people (kubectl port-forward)
  admin: [unix@/run/spoa-inference/admin.sock, 127.0.0.1:9015]
  feedback: 127.0.0.1:9014
log:
  level: {{ $level }}
haproxy:
  socket: /run/spoa-inference/haproxy.sock
  map_file: /run/spoa-inference/models.map
kubernetes:
  routing: {{ .Values.kubernetes.routing }}
  {{- if include "bbr.routes" . }}
  controller: {{ .Values.gatewayClass.controllerName }}
  {{- end }}
  service: {{ .Release.Namespace }}/{{ include "bbr.name" . }}
  {{- with .Values.kubernetes.watchNamespaces }}
  namespaces: {{ toJson . }}
  {{- end }}
  {{- with .Values.kubernetes.addresses }}
  addresses: {{ toJson . }}
  {{- end }}
  {{- if .Values.tls.secrets }}
  tls_secrets:
    {{- range .Values.tls.secrets }}
    - {{ $.Release.Namespace }}/{{ . }}
    {{- end }}
  # renewed ones make it reload HAProxy; they are looked at from outside, not read
  tls_dir: /etc/haproxy-tls
  {{- end }}
  haproxy_dir: /run/spoa-inference/haproxy
  haproxy_master: /run/spoa-inference/master.sock
{{- end -}}
