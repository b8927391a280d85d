{{/* Cross-field errors that a schema cannot say; each names the value and the remedy. */}}
{{- define "gateway.validate" -}}
{{- $v := .Values -}}
{{- include "gateway.validateService" . -}}
{{- include "gateway.validateBudget" . -}}
{{- include "gateway.validateMonitors" . -}}
{{- if and (ne $v.models.source "live") (not (get $v.config "models")) -}}
{{- fail "config.models is empty: name at least one, as in --set config.models.digits.labels.stable=1,config.models.digits.routing.weights.stable=100, or let the deployer own them with --set models.source=live" -}}
{{- end -}}
{{- range list "version" "backends" -}}
{{- if hasKey $v.config . -}}{{- fail (printf "config.%s is set by the chart (modelServer.*); remove it" .) -}}{{- end -}}
{{- end -}}
{{- if and $v.keysSecret (ne (dig "auth" "keys_file" "" $v.config) "/etc/gateway-keys/keys.yaml") -}}
{{- fail "keysSecret is mounted and not used: set config.auth.keys_file to /etc/gateway-keys/keys.yaml" -}}
{{- end -}}
{{- include "gateway.validateTls" . -}}
{{- $sampled := eq (dig "sampling" "folder" "" $v.config) "/var/lib/gateway-samples" -}}
{{- if and $v.samples.enabled (not $sampled) -}}
{{- fail "samples.enabled mounts a volume that nothing uses: set config.sampling.folder to /var/lib/gateway-samples" -}}
{{- end -}}
{{- if and $sampled (not $v.samples.enabled) -}}
{{- fail "config.sampling.folder is the volume of samples.enabled, which is false: the root of the pod is read-only" -}}
{{- end -}}
{{- if and $v.ingress.enabled $v.httpRoutes -}}
{{- fail "ingress.enabled and httpRoutes are both set: traffic would enter twice; keep one" -}}
{{- end -}}
{{- if and $v.grpcRoutes (not $v.grpc.enabled) -}}
{{- fail "grpcRoutes needs grpc.enabled=true: the gateway serves no gRPC" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress.hosts is empty: name at least one host" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas: raise the one or lower the other" -}}
{{- end -}}
{{- if and $v.autoscaling.keda.enabled (not $v.autoscaling.enabled) -}}
{{- fail "autoscaling.keda.enabled needs autoscaling.enabled=true" -}}
{{- end -}}
{{- if and $v.autoscaling.keda.enabled (not $v.autoscaling.keda.triggers) -}}
{{- fail "autoscaling.keda.triggers is empty: give at least one trigger" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not $v.autoscaling.keda.enabled) (not $v.autoscaling.targetCPUUtilizationPercentage) (not $v.autoscaling.metrics) -}}
{{- fail "autoscaling has no metric: set autoscaling.targetCPUUtilizationPercentage or autoscaling.metrics" -}}
{{- end -}}
{{- $resources := default dict $v.resources -}}
{{- $requests := default dict (get $resources "requests") -}}
{{- $limits := default dict (get $resources "limits") -}}
{{- $cpu := or (get $requests "cpu") (get $limits "cpu") -}}
{{- if and $v.autoscaling.enabled (not $v.autoscaling.keda.enabled) $v.autoscaling.targetCPUUtilizationPercentage (not $cpu) -}}
{{- fail "autoscaling by CPU needs resources.requests.cpu, a share of which it aims at: set it, or set autoscaling.targetCPUUtilizationPercentage to 0 and give autoscaling.metrics" -}}
{{- end -}}
{{- $longest := dig "limits" "timeout_ms" 10000 $v.config | int -}}
{{- $least := add (int $v.preStopSleepSeconds) (div (add $longest 999) 1000) -}}
{{- if le (int $v.terminationGracePeriodSeconds) $least -}}
{{- fail (printf "terminationGracePeriodSeconds must exceed preStopSleepSeconds by the longest request (config.limits.timeout_ms): raise it above %d" $least) -}}
{{- end -}}
{{- $limit := get $limits "memory" | toString -}}
{{- $mib := ternary (mul 1024 (trimSuffix "Gi" $limit | int)) (trimSuffix "Mi" $limit | int) (hasSuffix "Gi" $limit) -}}
{{- $needed := add 144 (div (dig "limits" "memory_bytes" 0 $v.config | int64) 1048576) -}}
{{- if and (regexMatch "^[0-9]+[MG]i$" $limit) (dig "limits" "memory_bytes" nil $v.config) (lt $mib $needed) -}}
{{- fail (printf "resources.limits.memory must hold config.limits.memory_bytes and 144 MiB of the gateway itself: raise it to %dMi, or leave memory_bytes out" $needed) -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled -}}
{{- fail "serviceMonitor and podMonitor are both on: every series would be scraped twice; keep one" -}}
{{- end -}}
{{- end }}

{{/* What is mounted is used, and what is used is mounted. */}}
{{- define "gateway.validateTls" -}}
{{- $v := .Values -}}
{{- $tls := default dict (get $v.config "tls") -}}
{{- $mounted := dict "tlsSecret" "/etc/gateway-tls" "clientCaSecret" "/etc/gateway-client-ca" -}}
{{- range $file := list (list "tlsSecret" "cert_file" "tls.crt") (list "tlsSecret" "key_file" "tls.key") (list "clientCaSecret" "client_ca_file" "ca.crt") -}}
{{- $secret := index $file 0 -}}{{- $key := index $file 1 -}}
{{- $path := printf "%s/%s" (get $mounted $secret) (index $file 2) -}}
{{- $named := get $tls $key | default "" -}}
{{- if and (get $v $secret) (ne $named $path) -}}
{{- fail (printf "%s is mounted and not used: set config.tls.%s to %s" $secret $key $path) -}}
{{- end -}}
{{- if and (eq $named $path) (not (get $v $secret)) -}}
{{- fail (printf "config.tls.%s is the file of %s, which is empty: name the Secret there" $key $secret) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* DNS name of the model servers' headless Service. */}}
{{- define "gateway.modelServer" -}}
{{- .Values.modelServer.service | default (printf "%s-tf-serving-headless" (trimSuffix "-gateway" .Release.Name)) -}}
{{- end }}

{{/* Annotations of a ConfigMap whose content belongs to the deployer: Argo CD and Flux leave it alone. */}}
{{- define "gateway.liveAnnotations" -}}
{{- if eq .Values.models.source "live" -}}
tfserving-deployer/source: live
argocd.argoproj.io/compare-options: IgnoreExtraneous
argocd.argoproj.io/sync-options: ServerSideApply=true
kustomize.toolkit.fluxcd.io/ssa: IfNotPresent
{{- end -}}
{{- end }}

{{- define "gateway.config" -}}
{{- $backends := dict "dns" (printf "%s:%d" (include "gateway.modelServer" .) (int .Values.modelServer.port)) "refresh_seconds" .Values.modelServer.refreshSeconds -}}
{{- if .Values.modelServer.scaleToZero -}}{{- $_ := set $backends "scale_to_zero" true -}}{{- end -}}
{{- with .Values.modelServer.hedge -}}{{- $_ := set $backends "hedge" . -}}{{- end -}}
{{- with .Values.modelServer.tls -}}
{{- if .secret -}}
{{- $tls := dict "ca_file" "/etc/model-server-tls/ca.crt" "server_name" (default (include "gateway.modelServer" $) .serverName) -}}
{{- if .clientCertificate -}}
{{- $_ := set $tls "cert_file" "/etc/model-server-tls/tls.crt" -}}
{{- $_ := set $tls "key_file" "/etc/model-server-tls/tls.key" -}}
{{- end -}}
{{- $_ := set $backends "tls" $tls -}}
{{- end -}}
{{- end -}}
{{- toYaml (merge (dict "version" "v1" "backends" $backends) .Values.config) -}}
{{- end }}
