{{/* Annotation of a pod with the model_config that it alone follows; empty where it follows the release. */}}
{{- define "tf-serving.ownModelConfig.annotation" -}}
tfserving-deployer/model-config
{{- end }}

{{/* Puts the file that the server polls together; the server starts once it is there. */}}
{{- define "tf-serving.ownModelConfig.container" -}}
- name: model-config
  image: {{ ternary (include "tf-serving.image" .) (include "tf-serving.imageOf" (list . .Values.ownModelConfig.image)) (empty .Values.ownModelConfig.image) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
  restartPolicy: Always
  command: [/bin/sh, -c]
  args:
    - |
      {{- .Files.Get "files/model-config.sh" | nindent 6 }}
  startupProbe:
    exec: {command: [test, -s, /etc/tf-serving/models/model.config]}
    periodSeconds: 1
    failureThreshold: 60
  resources:
    {{- toYaml .Values.ownModelConfig.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: offered-config, mountPath: /etc/tf-serving/offered, readOnly: true}
    - {name: model-config, mountPath: /etc/tf-serving/models}
{{- end }}

{{- define "tf-serving.ownModelConfig.volumes" -}}
- name: model-config
  emptyDir:
    sizeLimit: 8Mi
# One volume, so that what this pod alone follows and what all follow change in one step.
- name: offered-config
  projected:
    sources:
      - configMap:
          name: {{ include "tf-serving.suffixed" (list . "models") }}
          {{- if include "tf-serving.live" . }}
          items: [{key: model.config, path: model.config}]
      - configMap:
          name: {{ include "tf-serving.suffixed" (list . "models") }}
          items: [{key: newcomer.config, path: newcomer.config}]
          optional: true
          {{- end }}
      - downwardAPI:
          items:
            - path: own.config
              fieldRef:
                fieldPath: metadata.annotations['{{ include "tf-serving.ownModelConfig.annotation" . }}']
{{- end }}
