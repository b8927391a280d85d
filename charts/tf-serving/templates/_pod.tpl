{{- define "tf-serving.rollingUpdate" -}}
{{- if and .Values.gpu.enabled (not .Values.gpu.spareCard) -}}
maxUnavailable: 1
maxSurge: 0
{{- else -}}
maxUnavailable: 0
maxSurge: 1
{{- end -}}
{{- end }}

{{/* Annotation scraping, only where no monitor does it. */}}
{{- define "tf-serving.scrapeAnnotations" -}}
{{- if and .Values.monitoring.enabled (not .Values.serviceMonitor.enabled) (not .Values.podMonitor.enabled) -}}
prometheus.io/scrape: "true"
prometheus.io/port: "8501"
prometheus.io/path: {{ .Values.monitoring.path | quote }}
{{- end -}}
{{- end }}

{{/* A field of the pod that is passed through when it is set: (list name value) */}}
{{- define "tf-serving.passThrough" -}}
{{- with index . 1 }}
{{ index $ 0 }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tf-serving.nodeSelector" -}}
{{- $selector := merge (dict) .Values.nodeSelector -}}
{{- if .Values.gpu.enabled -}}{{- $selector = merge $selector .Values.gpu.nodeSelector -}}{{- end -}}
{{- toYaml $selector -}}
{{- end }}

{{- define "tf-serving.resources" -}}
{{- $resources := deepCopy (default dict .Values.resources) -}}
{{- if .Values.gpu.enabled -}}
{{- $limits := merge (dict .Values.gpu.resourceName .Values.gpu.count) (default dict $resources.limits) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{- define "tf-serving.spread" -}}
{{- if .Values.topologySpreadConstraints -}}
{{- toYaml .Values.topologySpreadConstraints -}}
{{- else -}}
{{- range $i, $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
{{- if $i }}{{ "\n" }}{{ end -}}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "tf-serving.selectorLabels" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end -}}
{{- end -}}
{{- end }}

{{/* Where a pod of the release may run and what it needs for that; also of the pod of `helm test`. */}}
{{- define "tf-serving.placement" }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.schedulerName }}
schedulerName: {{ . | quote }}
{{- end }}
{{- include "tf-serving.passThrough" (list "imagePullSecrets" (concat .Values.imagePullSecrets .Values.global.imagePullSecrets | uniq)) }}
{{- include "tf-serving.passThrough" (list "hostAliases" .Values.hostAliases) }}
{{- include "tf-serving.passThrough" (list "dnsConfig" .Values.dnsConfig) }}
{{- include "tf-serving.passThrough" (list "affinity" .Values.affinity) }}
{{- include "tf-serving.passThrough" (list "tolerations" (concat .Values.tolerations (ternary .Values.gpu.tolerations list .Values.gpu.enabled))) }}
{{- include "tf-serving.passThrough" (list "nodeSelector" (include "tf-serving.nodeSelector" . | fromYaml)) }}
{{- end }}

{{- define "tf-serving.podSpec" -}}
serviceAccountName: {{ include "tf-serving.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with default .Values.runtimeClassName (ternary .Values.gpu.runtimeClassName "" .Values.gpu.enabled) }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- include "tf-serving.placement" . }}
topologySpreadConstraints:
  {{- include "tf-serving.spread" . | nindent 2 }}
{{- if or .Values.initContainers .Values.ownModelConfig.enabled (eq .Values.storage.type "fetch") }}
initContainers:
  {{- include "tf-serving.initContainers" . | nindent 2 }}
{{- end }}
containers:
  - {{ include "tf-serving.container" . | nindent 4 | trim }}
  {{- with .Values.sidecars }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  {{- include "tf-serving.volumes" . | nindent 2 }}
{{- end }}
