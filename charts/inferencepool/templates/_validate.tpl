{{/* What the schema cannot say in words that help. */}}
{{- define "pool.validate" -}}
{{- $p := .Values.provider.name -}}
{{- $x := .Values.inferenceExtension -}}
{{- if ne $p "haproxy" -}}
{{- fail (printf "\n\nprovider.name=%s: this chart makes pools for HAProxy, so provider.name is haproxy. For Envoy-based gateways (gke, istio) use the chart inferencepool of the Gateway API Inference Extension.\n" $p) -}}
{{- end -}}
{{- if ne .Values.inferencePool.apiVersion "inference.networking.k8s.io/v1" -}}
{{- fail (printf "\n\ninferencePool.apiVersion=%s: the gateway reads InferencePools of inference.networking.k8s.io/v1. Install the definitions of the Inference Extension v1.0.0 or later.\n" .Values.inferencePool.apiVersion) -}}
{{- end -}}
{{- if not (.Values.inferencePool.modelServers | default dict).matchLabels -}}
{{- fail "\n\ninferencePool.modelServers.matchLabels is required: the labels of the model servers' pods, e.g. --set inferencePool.modelServers.matchLabels.app=phi4-mini\n" -}}
{{- end -}}
{{- if eq .Values.inferencePool.modelServerProtocol "grpc" -}}
{{- fail "\n\ninferencePool.modelServerProtocol=grpc: the gateway routes HTTP requests with a JSON body; gRPC model servers are not supported. For HTTP/2 in clear text set inferencePool.appProtocol to kubernetes.io/h2c.\n" -}}
{{- end -}}
{{- if $x.pluginsCustomConfig -}}
{{- fail "\n\ninferenceExtension.pluginsCustomConfig: there is no picker process and no plugins. How a pod is chosen: inferencePool.options.policy (least-loaded, shortest-wait, random-of-two, round-robin).\n" -}}
{{- end -}}
{{- if ($x.latencyPredictor | default dict).enabled -}}
{{- fail "\n\ninferenceExtension.latencyPredictor.enabled: there is no latency predictor. The nearest is inferencePool.options.policy=shortest-wait, which ranks pods by the work before them over their measured rate.\n" -}}
{{- end -}}
{{- if ($x.sidecar | default dict).enabled -}}
{{- fail "\n\ninferenceExtension.sidecar.enabled: there is no picker pod to put a sidecar into; containers beside the gateway: extraContainers of the chart body-based-routing.\n" -}}
{{- end -}}
{{- if ($x.tracing | default dict).enabled -}}
{{- fail "\n\ninferenceExtension.tracing.enabled: the agent makes no traces.\n" -}}
{{- end -}}
{{- if .Values.inferenceObjectives -}}
{{- fail "\n\ninferenceObjectives: priorities by InferenceObjective are not supported; leave them out. A pool's limit is inferencePool.options.maxInflight.\n" -}}
{{- end -}}
{{- end -}}
