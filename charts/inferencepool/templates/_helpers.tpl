{{- define "pool.labels" -}}
app.kubernetes.io/name: {{ .Release.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What the agent reads from the pool's annotations. */}}
{{- define "pool.annotations" -}}
{{- $engines := dict "vllm" "vllm" "sglang" "sglang" "triton-tensorrt-llm" "triton" "trtllm-serve" "trtllm" "llamacpp" "llamacpp" "none" "none" -}}
{{- $o := .Values.inferencePool.options -}}
{{- $data := (.Values.inferenceExtension.metricsDataSource | default dict) -}}
{{- $a := dict -}}
{{- with get $engines .Values.inferencePool.modelServerType }}{{ $_ := set $a "engine" . }}{{ end -}}
{{- with $data.path }}{{ if ne . "/metrics" }}{{ $_ := set $a "metrics-path" . }}{{ end }}{{ end -}}
{{- with $data.scheme }}{{ if ne . "http" }}{{ $_ := set $a "scheme" . }}{{ end }}{{ end -}}
{{- range $value, $key := dict "policy" "policy" "whenFull" "when-full" "maxInflight" "max-inflight" "retryAfter" "retry-after" "metricsPath" "metrics-path" "scheme" "scheme" -}}
{{- if hasKey $o $value -}}
{{- $given := get $o $value -}}
{{- $_ := set $a $key (kindIs "string" $given | ternary $given (int64 $given | toString)) -}}
{{- end -}}
{{- end -}}
{{- with $o.models }}{{ $_ := set $a "models" (join "," .) }}{{ end -}}
{{- range $key, $value := $a }}
spoa-inference/{{ $key }}: {{ $value | quote }}
{{- end }}
{{- with .Values.inferencePool.annotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Values of the Envoy-based chart's own picker that were given: they are named by NOTES.txt. */}}
{{- define "pool.unused" -}}
{{- $x := .Values.inferenceExtension -}}
{{- range list "replicas" "image" "extProcPort" "env" "pluginsConfigFile" "extraContainerPorts" "extraServicePorts" "flags" "affinity" "tolerations" "resources" "volumes" "volumeMounts" "monitoring" }}
{{- if hasKey $x . }} inferenceExtension.{{ . }}{{ end }}
{{- end }}
{{- if hasKey .Values.inferencePool "parser" }} inferencePool.parser{{ end }}
{{- if hasKey .Values.inferencePool "targetPortNumber" }} inferencePool.targetPortNumber{{ end }}
{{- end -}}
