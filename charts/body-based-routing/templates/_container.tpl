{{- define "bbr.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What haproxy.cfg and spoe-inference.conf read. */}}
{{- define "bbr.environment" -}}
INFERENCE_NO_CHROOT: "1"
INFERENCE_POOLS: "1"
INFERENCE_KUBERNETES: "1"
INFERENCE_DIR: /usr/local/etc/haproxy
INFERENCE_LOG: stdout
INFERENCE_STATS_SOCKET: /run/spoa-inference/haproxy.sock
INFERENCE_AGENT: unix@/run/spoa-inference/spop.sock
INFERENCE_ADMIN: unix@/run/spoa-inference/admin.sock
INFERENCE_FEEDBACK: 127.0.0.1:9014
INFERENCE_MAP: /run/spoa-inference/models.map
INFERENCE_BIND: ":8080"
{{- if .Values.tls.secrets }}
INFERENCE_CRT: /etc/haproxy-tls
INFERENCE_BIND_TLS: ":8443"
{{- end }}
INFERENCE_MAXCONN: {{ .Values.haproxy.maxconn | quote }}
INFERENCE_H2_STREAMS: {{ .Values.haproxy.streams | quote }}
INFERENCE_TIMEOUT: {{ .Values.haproxy.timeoutAgent | quote }}
INFERENCE_TIMEOUT_SERVER: {{ .Values.haproxy.timeoutServer | quote }}
INFERENCE_FAIL: {{ ternary "open" "closed" .Values.haproxy.failOpen }}
INFERENCE_HEADERS: {{ ternary "on" "off" .Values.haproxy.responseHeaders | quote }}
{{- if .Values.haproxy.rewrite }}
INFERENCE_REWRITE: "1"
{{- end }}
{{- end -}}
