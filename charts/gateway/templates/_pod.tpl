{{/* A field of the pod that is passed through when it is set: (list name value) */}}
{{- define "gateway.passThrough" -}}
{{- with index . 1 }}
{{ index $ 0 }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Annotation scraping, only where no monitor does it. */}}
{{- define "gateway.scrapeAnnotations" -}}
{{- if not (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled) -}}
prometheus.io/scrape: "true"
prometheus.io/port: "8081"
prometheus.io/path: /metrics
{{- end -}}
{{- end }}

{{- define "gateway.spread" -}}
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
      {{- include "gateway.selectorLabels" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end -}}
{{- end -}}
{{- end }}
{{/* Where a pod of the release may run and what it needs for that; also of the pod of `helm test`. */}}
{{- define "gateway.placement" }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.schedulerName }}
schedulerName: {{ . | quote }}
{{- end }}
{{- include "gateway.passThrough" (list "imagePullSecrets" (concat .Values.imagePullSecrets .Values.global.imagePullSecrets | uniq)) }}
{{- include "gateway.passThrough" (list "hostAliases" .Values.hostAliases) }}
{{- include "gateway.passThrough" (list "dnsConfig" .Values.dnsConfig) }}
{{- include "gateway.passThrough" (list "affinity" .Values.affinity) }}
{{- include "gateway.passThrough" (list "tolerations" .Values.tolerations) }}
{{- include "gateway.passThrough" (list "nodeSelector" .Values.nodeSelector) }}
{{- end }}

{{- define "gateway.podSpec" -}}
serviceAccountName: {{ include "gateway.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- include "gateway.placement" . }}
topologySpreadConstraints:
  {{- include "gateway.spread" . | nindent 2 }}
{{- include "gateway.passThrough" (list "initContainers" .Values.initContainers) }}
containers:
  - {{ include "gateway.container" . | nindent 4 | trim }}
  {{- with .Values.sidecars }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "gateway.suffixed" (list . "config") }}
      {{- if eq .Values.models.source "live" }}
      # A named key must exist: the pod waits for the deployer to write it.
      items: [{key: gateway.yaml, path: gateway.yaml}]
      {{- end }}
  {{- with .Values.keysSecret }}
  - name: keys
    secret:
      secretName: {{ . | quote }}
      defaultMode: 0440
  {{- end }}
  {{- with .Values.tlsSecret }}
  - name: tls
    secret:
      secretName: {{ . | quote }}
      defaultMode: 0440
  {{- end }}
  {{- with .Values.modelServer.tls.secret }}
  - name: model-server-tls
    secret:
      secretName: {{ . | quote }}
      defaultMode: 0440
  {{- end }}
  {{- if .Values.samples.enabled }}
  - name: samples
    {{- with .Values.samples.existingClaim }}
    persistentVolumeClaim: {claimName: {{ . | quote }}}
    {{- else }}
    emptyDir:
      sizeLimit: {{ .Values.samples.sizeLimit | quote }}
    {{- end }}
  {{- end }}
  {{- with .Values.clientCaSecret }}
  - name: client-ca
    secret:
      secretName: {{ . | quote }}
      # Only the certificates: a key of the authority, if it is there, stays outside.
      items: [{key: ca.crt, path: ca.crt}]
      defaultMode: 0440
  {{- end }}
  {{- with .Values.modelStore.existingClaim }}
  - name: models
    persistentVolumeClaim: {claimName: {{ . | quote }}, readOnly: true}
  {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
