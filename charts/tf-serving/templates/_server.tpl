{{/* Whole CPUs that the container may use: its CPU limit, else its request, rounded up. */}}
{{- define "tf-serving.cpus" -}}
{{- $resources := default dict .Values.resources -}}
{{- $requests := default dict (get $resources "requests") -}}
{{- $limits := default dict (get $resources "limits") -}}
{{- $cpu := toString (default (default "1" (get $requests "cpu")) (get $limits "cpu")) -}}
{{- if hasSuffix "m" $cpu -}}
{{- max 1 (ceil (divf (float64 (trimSuffix "m" $cpu)) 1000)) | int -}}
{{- else -}}
{{- max 1 (ceil (float64 $cpu)) | int -}}
{{- end -}}
{{- end }}

{{- define "tf-serving.batchThreads" -}}
{{- .Values.batching.numBatchThreads | default (ternary 1 (include "tf-serving.cpus" . | int) .Values.gpu.enabled) | int -}}
{{- end }}

{{/* A request in flight holds a gRPC thread, also while it waits for its batch: room for two full batches. Who finds
     none is refused, so there is room for a burst however small the CPU limit is. */}}
{{- define "tf-serving.grpcThreads" -}}
{{- $batch := ternary (int .Values.batching.maxBatchSize) 0 .Values.batching.enabled -}}
{{- .Values.serving.threads.grpc | default (max 64 (mul 16 (include "tf-serving.cpus" . | int)) (mul 2 $batch)) | int -}}
{{- end }}

{{- define "tf-serving.restThreads" -}}
{{- .Values.serving.threads.rest | default (max 4 (mul 4 (include "tf-serving.cpus" . | int))) | int -}}
{{- end }}

{{- define "tf-serving.args" -}}
{{- $cpus := include "tf-serving.cpus" . | int -}}
{{- $threads := .Values.serving.threads -}}
- --port=8500
- --rest_api_port=8501
- --model_config_file=/etc/tf-serving/models/model.config
- --model_config_file_poll_wait_seconds={{ .Values.serving.modelConfigPollSeconds }}
- --file_system_poll_wait_seconds={{ .Values.serving.fileSystemPollSeconds }}
- --allow_version_labels_for_unavailable_models=true
- --num_load_threads={{ .Values.serving.loadThreads }}
- --num_unload_threads={{ .Values.serving.unloadThreads }}
- --max_num_load_retries={{ .Values.serving.maxLoadRetries }}
- --load_retry_interval_micros={{ mul .Values.serving.loadRetrySeconds 1000000 }}
- --enable_grpc_healthcheck_service=true
- --enable_profiler=false
- --tensorflow_intra_op_parallelism={{ $threads.intraOp | default $cpus }}
- --tensorflow_inter_op_parallelism={{ $threads.interOp | default $cpus }}
- --grpc_max_threads={{ include "tf-serving.grpcThreads" . }}
- --rest_api_num_threads={{ include "tf-serving.restThreads" . }}
- --rest_api_timeout_in_ms={{ mul .Values.serving.restTimeoutSeconds 1000 }}
{{- if .Values.sslConfigSecret }}
- --ssl_config_file=/etc/tf-serving/tls/ssl.config
{{- end }}
{{- if .Values.monitoring.enabled }}
- --monitoring_config_file=/etc/tf-serving/server/monitoring.config
{{- end }}
{{- if .Values.batching.enabled }}
- --enable_batching=true
- --batching_parameters_file=/etc/tf-serving/server/batching.config
{{- end }}
{{- if and .Values.gpu.enabled .Values.gpu.memoryFraction }}
- --per_process_gpu_memory_fraction={{ .Values.gpu.memoryFraction }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* Whether the deployer owns the models; empty if not. */}}
{{- define "tf-serving.live" -}}
{{- if kindIs "map" .Values.models -}}live{{- end -}}
{{- end }}

{{/* Annotations of a ConfigMap whose content belongs to the deployer: Argo CD and Flux leave it alone. */}}
{{- define "tf-serving.liveAnnotations" -}}
{{- if include "tf-serving.live" . -}}
tfserving-deployer/source: live
argocd.argoproj.io/compare-options: IgnoreExtraneous
argocd.argoproj.io/sync-options: ServerSideApply=true
kustomize.toolkit.fluxcd.io/ssa: IfNotPresent
{{- end -}}
{{- end }}

{{- define "tf-serving.modelConfig" -}}
model_config_list {
{{- if not (include "tf-serving.live" .) }}
{{- range .Values.models }}
  config {
    name: {{ .name | quote }}
    base_path: {{ default (printf "%s/%s" $.Values.storage.mountPath .name) .basePath | quote }}
    model_platform: "tensorflow"
    model_version_policy {
      specific {
        {{- range .versions }}
        versions: {{ int64 . }}
        {{- end }}
      }
    }
    {{- range $label, $version := .labels }}
    version_labels { key: {{ $label | quote }} value: {{ int64 $version }} }
    {{- end }}
  }
{{- end }}
{{- end }}
}
{{- end }}

{{- define "tf-serving.batchingConfig" -}}
{{- with .Values.batching -}}
max_batch_size { value: {{ int64 .maxBatchSize }} }
batch_timeout_micros { value: {{ int64 .batchTimeoutMicros }} }
max_enqueued_batches { value: {{ int64 .maxEnqueuedBatches }} }
num_batch_threads { value: {{ include "tf-serving.batchThreads" $ }} }
{{- range .allowedBatchSizes }}
allowed_batch_sizes: {{ int64 . }}
{{- end }}
{{- if .padVariableLengthInputs }}
pad_variable_length_inputs: true
{{- end }}
{{- if .enableLargeBatchSplitting }}
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: {{ int64 .maxExecutionBatchSize }} }
{{- end }}
{{- end }}
{{- end }}

{{- define "tf-serving.monitoringConfig" -}}
prometheus_config {
  enable: true
  path: {{ .Values.monitoring.path | quote }}
}
{{- end }}
