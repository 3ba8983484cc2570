{{- define "gvDetails" -}}
## {{ .GroupVersionString }}

{{ .Doc | trim }}
{{ range .SortedKinds }}
- {{ $.TypeForKind . | markdownRenderTypeLink }}
{{- end }}
{{ range .SortedTypes }}
{{- template "type" . }}
{{- end }}
{{- end -}}
