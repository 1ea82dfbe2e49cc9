{{/* What the schema cannot say in words that help. */}}
{{- define "bbr.validate" -}}
{{- $p := .Values.provider.name -}}
{{- if ne $p "haproxy" -}}
{{- fail (printf "\n\nprovider.name=%s: the gateway of this chart is HAProxy, so provider.name is haproxy. For Envoy-based gateways (gke, istio) use the chart body-based-routing of the Gateway API Inference Extension.\n" $p) -}}
{{- end -}}
{{- with .Values.bbr.plugins -}}
{{- range . -}}
{{- if not (has .type (list "body-field-to-header" "base-model-to-header")) -}}
{{- fail (printf "\n\nbbr.plugins: there is no plugin %q here. The model is read from the body by the agent itself; leave bbr.plugins out.\n" .type) -}}
{{- end -}}
{{- $json := .json | default dict -}}
{{- if and (eq .type "body-field-to-header") (or (ne ($json.fieldName | default "model") "model") (ne ($json.headerName | default "X-Gateway-Model-Name") "X-Gateway-Model-Name")) -}}
{{- fail "\n\nbbr.plugins: body-field-to-header is there for the field model and the header X-Gateway-Model-Name alone; leave bbr.plugins out.\n" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if (.Values.bbr.tracing | default dict).enabled -}}
{{- fail "\n\nbbr.tracing.enabled: the agent makes no traces. HAProxy's log line and the agent's metrics tell the times of each request (README.md, Monitoring).\n" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "\n\nautoscaling.maxReplicas is less than autoscaling.minReplicas.\n" -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSeconds) -}}
{{- fail "\n\nterminationGracePeriodSeconds must be longer than preStopSeconds: HAProxy begins to finish its streams after preStopSeconds.\n" -}}
{{- end -}}
{{- if and (not (include "bbr.routes" .)) .Values.inferenceGateway.create -}}
{{- fail "\n\ninferenceGateway.create: with kubernetes.routing=models there are no Gateways; leave it false.\n" -}}
{{- end -}}
{{- if and .Values.inferenceGateway.create (not .Values.gatewayClass.name) -}}
{{- fail "\n\ninferenceGateway.create needs gatewayClass.name.\n" -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) .Values.rbac.create (not .Values.serviceAccount.name) -}}
{{- fail "\n\nserviceAccount.create=false needs serviceAccount.name: otherwise the rights would go to the namespace's default account.\n" -}}
{{- end -}}
{{- end -}}
