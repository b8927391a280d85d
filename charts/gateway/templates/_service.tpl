{{/* Families of addresses, of every Service of the release. */}}
{{- define "gateway.addressFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . | quote }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What contradicts itself in the values of the Service, the budget and the monitors. */}}
{{- define "gateway.validateService" -}}
{{- $s := .Values.service -}}
{{- if and (ne $s.type "LoadBalancer") (or $s.loadBalancerClass $s.loadBalancerSourceRanges) -}}
{{- fail (printf "service.loadBalancerClass and service.loadBalancerSourceRanges need service.type=LoadBalancer; it is %s" $s.type) -}}
{{- end -}}
{{- if and (eq $s.type "ClusterIP") (or $s.externalTrafficPolicy $s.nodePort $s.grpcNodePort) -}}
{{- fail "service.externalTrafficPolicy and fixed ports of nodes need service.type=NodePort or LoadBalancer: nothing outside the cluster reaches a ClusterIP" -}}
{{- end -}}
{{- if and $s.grpcNodePort (not .Values.grpc.enabled) -}}
{{- fail "service.grpcNodePort needs grpc.enabled=true: the gateway serves no gRPC" -}}
{{- end -}}
{{- if and $s.nodePort (eq (int $s.nodePort) (int $s.grpcNodePort)) -}}
{{- fail "service.nodePort and service.grpcNodePort are the same port: choose two" -}}
{{- end -}}
{{- if and (eq $s.ipFamilyPolicy "SingleStack") (gt (len $s.ipFamilies) 1) -}}
{{- fail "service.ipFamilies names two families and service.ipFamilyPolicy is SingleStack: remove one, or set PreferDualStack" -}}
{{- end -}}
{{- end }}

{{- define "gateway.validateBudget" -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- $fewest := ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled | int -}}
{{- if and (ne (toString $budget.minAvailable) "") (ne (toString $budget.maxUnavailable) "") -}}
{{- fail "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both set: Kubernetes takes one of them" -}}
{{- end -}}
{{- if and $budget.enabled (gt $fewest 1) (not (kindIs "string" $budget.minAvailable)) (ge (int $budget.minAvailable) $fewest) -}}
{{- fail (printf "podDisruptionBudget.minAvailable is %d of %d replicas: no node of theirs could ever be drained; lower it" (int $budget.minAvailable) $fewest) -}}
{{- end -}}
{{- end }}

{{/* A scrape that may take longer than the interval makes the Prometheus operator refuse the monitor. */}}
{{- define "gateway.validateMonitors" -}}
{{- range $name, $monitor := dict "serviceMonitor" .Values.serviceMonitor "podMonitor" .Values.podMonitor -}}
{{- $plain := and (regexMatch "^[0-9]+s$" $monitor.interval) (regexMatch "^[0-9]+s$" $monitor.scrapeTimeout) -}}
{{- if and $plain (gt (trimSuffix "s" $monitor.scrapeTimeout | int) (trimSuffix "s" $monitor.interval | int)) -}}
{{- fail (printf "%s.scrapeTimeout is longer than %s.interval: lower it" $name $name) -}}
{{- end -}}
{{- end -}}
{{- end }}
