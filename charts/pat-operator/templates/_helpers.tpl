{{/* The namespace of the records. The processes refuse to start where it is the operator's own; this says so earlier. */}}
{{- define "pat-operator.recordsNamespace" -}}
{{- $name := .Values.recordsNamespace.name -}}
{{- if eq $name .Release.Namespace -}}
{{- fail (printf "recordsNamespace.name and the release namespace are both %q: accounts that read records must not read keys. Set recordsNamespace.name to another namespace, or install with another --namespace" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The labels of every object, as YAML. Call with a dict: context, and optionally labels (a map). Ours win. */}}
{{- define "pat-operator.labels" -}}
{{- $c := .context -}}
{{- $ours := dict
  "app.kubernetes.io/name" "pat-operator"
  "app.kubernetes.io/part-of" "pat-operator"
  "app.kubernetes.io/instance" $c.Release.Name
  "app.kubernetes.io/version" (regexReplaceAll "[^A-Za-z0-9_.-]" $c.Chart.AppVersion "_" | trunc 63 | trimAll "_.-")
  "app.kubernetes.io/managed-by" $c.Release.Service
  "helm.sh/chart" (printf "%s-%s" $c.Chart.Name $c.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (mergeOverwrite (dict) (deepCopy ($c.Values.commonLabels | default dict)) (deepCopy (.labels | default dict)) $ours) -}}
{{- end -}}

{{/* The labels by which a component's pods are found. They never change: a Deployment's selector cannot. */}}
{{- define "pat-operator.selector" -}}
app.kubernetes.io/name: pat-operator
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* The component whose pods verify. */}}
{{- define "pat-operator.verifierComponent" -}}
{{- ternary "operator" "verifier" (eq .Values.mode "single") -}}
{{- end -}}

{{- define "pat-operator.image" -}}
{{- $registry := (.Values.global).imageRegistry | default .Values.image.registry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* Whether the records namespace is kept on uninstall: whenever the CRD is, since without records every token ends. */}}
{{- define "pat-operator.keepRecords" -}}
{{- if or .Values.crds.keep (not .Values.crds.enabled) }}true{{ end -}}
{{- end -}}
