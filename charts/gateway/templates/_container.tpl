{{/* The container of the gateway. */}}
{{- define "gateway.container" -}}
name: gateway
image: {{ include "gateway.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
args:
  - --config=/etc/gateway/gateway.yaml
  - "--host=::"
  - --port=8080
  - --admin-port=8081
  {{- if .Values.grpc.enabled }}
  - --grpc-port=9000
  {{- end }}
  {{- range .Values.extraArgs }}
  - {{ . | quote }}
  {{- end }}
ports:
  - {name: http, containerPort: 8080, protocol: TCP}
  - {name: admin, containerPort: 8081, protocol: TCP}
  {{- if .Values.grpc.enabled }}
  - {name: grpc, containerPort: 9000, protocol: TCP}
  {{- end }}
{{- $ownFolder := and .Values.samples.enabled .Values.samples.existingClaim }}
{{- if or .Values.extraEnv $ownFolder }}
env:
  {{- if $ownFolder }}
  - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: {{ .Values.probes.readiness.periodSeconds }}
  failureThreshold: {{ .Values.probes.readiness.failureThreshold }}
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: {{ .Values.probes.liveness.periodSeconds }}
  failureThreshold: {{ .Values.probes.liveness.failureThreshold }}
lifecycle:
  preStop:
    # Addresses are withdrawn while the gateway still accepts; on SIGTERM it finishes what it has.
    sleep: {seconds: {{ .Values.preStopSleepSeconds }}}
resources:
  {{- toYaml (default dict .Values.resources) | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  # A directory, never a single file: a file mounted by subPath is not updated when its ConfigMap changes.
  - {name: config, mountPath: /etc/gateway, readOnly: true}
  {{- if .Values.keysSecret }}
  - {name: keys, mountPath: /etc/gateway-keys, readOnly: true}
  {{- end }}
  {{- if .Values.tlsSecret }}
  - {name: tls, mountPath: /etc/gateway-tls, readOnly: true}
  {{- end }}
  {{- if .Values.modelServer.tls.secret }}
  - {name: model-server-tls, mountPath: /etc/model-server-tls, readOnly: true}
  {{- end }}
  {{- if .Values.samples.enabled }}
  - name: samples
    mountPath: /var/lib/gateway-samples
    {{- if .Values.samples.existingClaim }}
    subPathExpr: $(POD_NAME)
    {{- end }}
  {{- end }}
  {{- if .Values.clientCaSecret }}
  - {name: client-ca, mountPath: /etc/gateway-client-ca, readOnly: true}
  {{- end }}
  {{- if .Values.modelStore.existingClaim }}
  - name: models
    mountPath: /models
    readOnly: true
    {{- with .Values.modelStore.subPath }}
    subPath: {{ . | quote }}
    {{- end }}
  {{- end }}
  - {name: tmp, mountPath: /tmp}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
