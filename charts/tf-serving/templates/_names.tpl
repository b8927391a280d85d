{{/* Names and labels: the standard eight of `helm create`, with a namespace helper. */}}
{{- define "tf-serving.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "tf-serving.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tf-serving.suffixed" -}}
{{- $root := index . 0 -}}{{- $suffix := index . 1 -}}
{{- printf "%s-%s" (include "tf-serving.fullname" $root | trunc (int (sub 62 (len $suffix))) | trimSuffix "-") $suffix -}}
{{- end }}

{{- define "tf-serving.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end }}

{{- define "tf-serving.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "tf-serving.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tf-serving.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: model-server
{{- end }}

{{/* All labels of an object, each once: (list $ overriding added). `added` and commonLabels cannot change what selects. */}}
{{- define "tf-serving.labels" -}}
{{- $root := index . 0 -}}
{{- $own := include "tf-serving.selectorLabels" $root | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "tfserving-deployer" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (include "tf-serving.chart" $root) -}}
{{- toYaml (merge (dict) (index . 1 | default dict) $own (index . 2 | default dict) $root.Values.commonLabels) -}}
{{- end }}

{{/* What tells the pod of `helm test` from all others. */}}
{{- define "tf-serving.testLabels" -}}
app.kubernetes.io/name: {{ include "tf-serving.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{/* metadata.labels and metadata.annotations of an object: (list $ extraLabels extraAnnotations) */}}
{{- define "tf-serving.metadata" -}}
{{- $root := index . 0 -}}
{{- $annotations := merge (dict) (index . 2 | default dict) $root.Values.commonAnnotations -}}
namespace: {{ include "tf-serving.namespace" $root }}
labels:
  {{- include "tf-serving.labels" (list $root (index . 1) nil) | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tf-serving.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tf-serving.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "tf-serving.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if and .Values.gpu.enabled (not (hasSuffix .Values.gpu.imageTagSuffix $tag)) -}}
{{- $tag = printf "%s%s" $tag .Values.gpu.imageTagSuffix -}}
{{- end -}}
{{- $name := .Values.image.repository -}}
{{- with default .Values.image.registry .Values.global.imageRegistry -}}{{- $name = printf "%s/%s" . $name -}}{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name $tag -}}
{{- end -}}
{{- end }}

{{- define "tf-serving.claimName" -}}
{{- if eq .Values.storage.type "existingClaim" -}}
{{- .Values.persistence.existingClaim -}}
{{- else -}}
{{- include "tf-serving.suffixed" (list . "models") -}}
{{- end -}}
{{- end }}

{{/* Grafana takes 40 characters, and one uid once, whatever the namespace. */}}
{{- define "tf-serving.dashboardUid" -}}
{{- printf "%s/%s" (include "tf-serving.namespace" .) (include "tf-serving.fullname" .) | sha256sum | trunc 16 | printf "tf-serving-%s" -}}
{{- end }}

{{/* An image that a value names as a whole, from the registry that a parent chart names: (list $ image) */}}
{{- define "tf-serving.imageOf" -}}
{{- $image := index . 1 -}}
{{- with (index . 0).Values.global.imageRegistry -}}
{{- $image = printf "%s/%s" . (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $image "") -}}
{{- end -}}
{{- $image -}}
{{- end }}
