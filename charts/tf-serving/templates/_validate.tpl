{{/* Cross-field errors that a schema cannot say; each names the value and the remedy. */}}
{{- define "tf-serving.validate" -}}
{{- $v := .Values -}}
{{- include "tf-serving.validateService" . -}}
{{- include "tf-serving.validateBudget" . -}}
{{- include "tf-serving.validateMonitors" . -}}
{{- $models := ternary list $v.models (kindIs "map" $v.models) -}}
{{- if not $v.models -}}
{{- fail "models is empty: name at least one, as in --set 'models[0].name=digits,models[0].versions={1},models[0].labels.stable=1', or let the deployer own them with --set models.source=live" -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $models -}}
{{- $model := . -}}
{{- if hasKey $seen .name -}}{{- fail (printf "models: %q is listed twice; give each model one entry" .name) -}}{{- end -}}
{{- $_ := set $seen .name true -}}
{{- $versions := list -}}
{{- range .versions -}}{{- $versions = append $versions (int64 .) -}}{{- end -}}
{{- range $label, $version := .labels -}}
{{- if not (has (int64 $version) $versions) -}}
{{- fail (printf "models: label %q of %q points at version %d, which is not in versions; add it there or move the label" $label $model.name (int64 $version)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.rolloutAccess.enabled (not (include "tf-serving.live" .)) -}}
{{- fail "rolloutAccess.enabled needs models.source=live: a rollout that Helm values follow needs rights on every object of both charts" -}}
{{- end -}}
{{- if and (eq $v.storage.type "existingClaim") (not $v.persistence.existingClaim) -}}
{{- fail "storage.type is existingClaim: set persistence.existingClaim to the claim's name" -}}
{{- end -}}
{{- if and (ne $v.storage.type "existingClaim") $v.persistence.existingClaim -}}
{{- fail "persistence.existingClaim is set: set storage.type=existingClaim too, or remove it" -}}
{{- end -}}
{{- if and (eq $v.storage.type "fetch") (not (and $v.storage.fetch.image $v.storage.fetch.command)) -}}
{{- fail "storage.type is fetch: set storage.fetch.image and storage.fetch.command" -}}
{{- end -}}
{{- if and (ne $v.storage.type "fetch") $v.storage.fetch.image -}}
{{- fail "storage.fetch.image is set: set storage.type=fetch too, or remove it" -}}
{{- end -}}
{{- $outside := eq $v.storage.type "fetch" -}}
{{- range $models -}}{{- if hasPrefix "gs://" (default "" .basePath) -}}{{- $outside = true -}}{{- end -}}{{- end -}}
{{- if and $v.networkPolicy.enabled $outside (not $v.networkPolicy.extraEgress) -}}
{{- fail "models come from outside the cluster, and networkPolicy.enabled closes all egress: allow their way (and DNS) with networkPolicy.extraEgress" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas: raise the one or lower the other" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not $v.autoscaling.keda.enabled) (eq (int $v.autoscaling.minReplicas) 0) -}}
{{- fail "autoscaling.minReplicas is 0: only KEDA scales to zero; set autoscaling.keda.enabled=true, or raise it" -}}
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
{{- $least := add (int $v.preStopSleepSeconds) (int $v.serving.restTimeoutSeconds) -}}
{{- if le (int $v.terminationGracePeriodSeconds) $least -}}
{{- fail (printf "terminationGracePeriodSeconds must exceed preStopSleepSeconds by the longest request (serving.restTimeoutSeconds): raise it above %d" $least) -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled -}}
{{- fail "serviceMonitor and podMonitor are both on: every series would be scraped twice; keep one" -}}
{{- end -}}
{{- if and (or $v.serviceMonitor.enabled $v.podMonitor.enabled $v.prometheusRule.enabled $v.dashboard.enabled) (not $v.monitoring.enabled) -}}
{{- fail "a monitor, the rules or the dashboard are on but monitoring.enabled is false: there would be nothing to see" -}}
{{- end -}}
{{- if and $v.batching.enabled $v.batching.allowedBatchSizes -}}
{{- $last := 0 -}}
{{- range $v.batching.allowedBatchSizes -}}
{{- if le (int .) $last -}}{{- fail "batching.allowedBatchSizes must increase" -}}{{- end -}}
{{- $last = int . -}}
{{- end -}}
{{- if ne $last (int $v.batching.maxBatchSize) -}}
{{- fail (printf "batching.allowedBatchSizes ends in %d; the last one must equal batching.maxBatchSize (%d)" $last (int $v.batching.maxBatchSize)) -}}
{{- end -}}
{{- end -}}
{{- if and $v.batching.enableLargeBatchSplitting (not $v.batching.maxExecutionBatchSize) -}}
{{- fail "batching.enableLargeBatchSplitting needs batching.maxExecutionBatchSize: the server takes 0 for an absent one and refuses every request" -}}
{{- end -}}
{{- if and $v.batching.maxExecutionBatchSize (not $v.batching.enableLargeBatchSplitting) -}}
{{- fail "batching.maxExecutionBatchSize has no effect without batching.enableLargeBatchSplitting; set both or neither" -}}
{{- end -}}
{{- if gt (int $v.batching.maxExecutionBatchSize) (int $v.batching.maxBatchSize) -}}
{{- fail (printf "batching.maxExecutionBatchSize is %d, more than batching.maxBatchSize (%d): lower it" (int $v.batching.maxExecutionBatchSize) (int $v.batching.maxBatchSize)) -}}
{{- end -}}
{{- if and $v.gpu.enabled (hasKey $limits $v.gpu.resourceName) -}}
{{- fail (printf "resources.limits has %s: set gpu.count instead" $v.gpu.resourceName) -}}
{{- end -}}
{{- if eq (int $v.serving.threads.rest) 1 -}}
{{- fail "serving.threads.rest is 1: that thread is the event loop and no request would be served; use at least 2" -}}
{{- end -}}
{{- end }}
