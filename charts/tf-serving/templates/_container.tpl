{{- define "tf-serving.initContainers" -}}
{{- if eq .Values.storage.type "fetch" -}}
- name: fetch-models
  image: {{ include "tf-serving.imageOf" (list . .Values.storage.fetch.image) | quote }}
  command:
    {{- toYaml .Values.storage.fetch.command | nindent 4 }}
  {{- with .Values.storage.fetch.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  resources:
    {{- toYaml .Values.storage.fetch.resources | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- if .Values.ownModelConfig.enabled }}
{{ include "tf-serving.ownModelConfig.container" . }}
{{- end }}
{{- with .Values.initContainers }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* How the kubelet sees that the first models are loaded; its gRPC probe speaks no TLS, but no port is open before. */}}
{{- define "tf-serving.probed" -}}
{{ ternary "tcpSocket" "grpc" (not (empty .Values.sslConfigSecret)) }}: {port: 8500}
{{- end }}

{{- define "tf-serving.container" -}}
name: model-server
image: {{ include "tf-serving.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
{{- with .Values.command }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
args:
  {{- include "tf-serving.args" . | nindent 2 }}
ports:
  - {name: grpc, containerPort: 8500, protocol: TCP}
  - {name: http, containerPort: 8501, protocol: TCP}
env:
  {{- $names := list }}
  {{- range .Values.extraEnv }}{{ $names = append $names .name }}{{ end }}
  {{- if not (has "MALLOC_ARENA_MAX" $names) }}
  # Without a bound on arenas, memory of unloaded versions is rarely given back.
  - {name: MALLOC_ARENA_MAX, value: "2"}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
# The health service says "the first models are loaded" once and never takes it back. What a replica serves per
# model and label is proven by `deployer status` and by the gateway.
startupProbe:
  {{ include "tf-serving.probed" . }}
  periodSeconds: {{ .Values.probes.startup.periodSeconds }}
  failureThreshold: {{ .Values.probes.startup.failureThreshold }}
readinessProbe:
  {{ include "tf-serving.probed" . }}
  periodSeconds: {{ .Values.probes.readiness.periodSeconds }}
  failureThreshold: {{ .Values.probes.readiness.failureThreshold }}
  timeoutSeconds: {{ .Values.probes.readiness.timeoutSeconds }}
livenessProbe:
  {{ include "tf-serving.probed" . }}
  periodSeconds: {{ .Values.probes.liveness.periodSeconds }}
  failureThreshold: {{ .Values.probes.liveness.failureThreshold }}
  timeoutSeconds: {{ .Values.probes.liveness.timeoutSeconds }}
lifecycle:
  preStop:
    # The server does not drain: it serves on while its address is withdrawn.
    sleep: {seconds: {{ .Values.preStopSleepSeconds }}}
resources:
  {{- include "tf-serving.resources" . | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: models
    mountPath: {{ .Values.storage.mountPath | quote }}
    readOnly: true
    {{- with .Values.storage.subPath }}
    subPath: {{ . | quote }}
    {{- end }}
  # Directories, never single files: a file mounted by subPath is not updated when its ConfigMap changes.
  - {name: model-config, mountPath: /etc/tf-serving/models, readOnly: true}
  - {name: server-config, mountPath: /etc/tf-serving/server, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.sslConfigSecret }}
  - {name: tls, mountPath: /etc/tf-serving/tls, readOnly: true}
  {{- end }}
  {{- if .Values.shm.enabled }}
  - {name: shm, mountPath: /dev/shm}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "tf-serving.volumes" -}}
- name: models
  {{- if eq .Values.storage.type "fetch" }}
  emptyDir:
    sizeLimit: {{ .Values.storage.fetch.sizeLimit | quote }}
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ include "tf-serving.claimName" . }}
    readOnly: {{ eq .Values.storage.type "existingClaim" }}
  {{- end }}
{{- if .Values.ownModelConfig.enabled }}
{{ include "tf-serving.ownModelConfig.volumes" . }}
{{- else }}
- name: model-config
  configMap:
    name: {{ include "tf-serving.suffixed" (list . "models") }}
    {{- if include "tf-serving.live" . }}
    # A named key must exist: the pod waits for the deployer to write it.
    items: [{key: model.config, path: model.config}]
    {{- end }}
{{- end }}
- name: server-config
  configMap:
    name: {{ include "tf-serving.suffixed" (list . "server") }}
{{- with .Values.sslConfigSecret }}
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if .Values.shm.enabled }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.shm.sizeLimit | quote }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
