{{/*
A Service of the pods that verify, or of those of another component. Call with a dict: context, name, port, service (values);
component (optional).
*/}}
{{- define "pat-operator.service" }}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ .context.Release.Namespace | quote }}
  {{- with .service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  labels:
    {{- include "pat-operator.labels" (dict "context" .context) | nindent 4 }}
spec:
  {{- /* The API server's default is left out, as config has it. */}}
  {{- if ne .service.type "ClusterIP" }}
  type: {{ .service.type }}
  {{- end }}
  {{- with .service.clusterIP }}
  clusterIP: {{ . | quote }}
  {{- end }}
  {{- if ne .service.type "ClusterIP" }}
  {{- with .service.externalTrafficPolicy }}
  externalTrafficPolicy: {{ . }}
  {{- end }}
  {{- end }}
  {{- if eq .service.type "LoadBalancer" }}
  {{- with .service.loadBalancerClass }}
  loadBalancerClass: {{ . | quote }}
  {{- end }}
  {{- with .service.loadBalancerSourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with .service.ipFamilyPolicy }}
  ipFamilyPolicy: {{ . }}
  {{- end }}
  selector:
    {{- include "pat-operator.selector" (.component | default (include "pat-operator.verifierComponent" .context)) | nindent 4 }}
  ports:
    - name: https
      port: 443
      targetPort: {{ .port }}
{{- end -}}
