{{- define "type_members" -}}
{{- if eq .Name "metadata" -}}
Fields that every object has.
{{- else -}}
{{ markdownRenderFieldDoc (.Doc | replace "<" "&lt;") }}
{{- end -}}
{{- end -}}
