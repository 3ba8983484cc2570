{{/*
The objects of one file below files/, with the two namespaces, the labels, and what the values change of them.
Call with a dict: context, path.
*/}}
{{- define "pat-operator.file" -}}
{{- $c := .context -}}
{{- $records := include "pat-operator.recordsNamespace" $c -}}
{{- $text := $c.Files.Get .path | replace "${OPERATOR_NAMESPACE}" $c.Release.Namespace | replace "${RECORDS_NAMESPACE}" $records -}}
{{- range regexSplit "(?m)^---$" $text -1 }}
{{- $object := fromYaml . }}
{{- if hasKey $object "Error" }}{{ fail (printf "%s: %s" $.path $object.Error) }}{{ end }}
{{- if and $object (include "pat-operator.change" (dict "context" $c "object" $object)) }}
{{- $_ := set $object.metadata "labels" (fromYaml (include "pat-operator.labels" (dict "context" $c "labels" $object.metadata.labels))) }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Changes an object of files/ in place as the values say. Is empty where they leave the object out. */}}
{{- define "pat-operator.change" -}}
{{- $c := .context -}}
{{- $o := .object -}}
{{- $name := $o.metadata.name -}}
{{- $out := false -}}
{{- if eq $o.kind "CustomResourceDefinition" -}}
  {{- if $c.Values.crds.keep -}}{{- $_ := set $o.metadata.annotations "helm.sh/resource-policy" "keep" -}}{{- end -}}
{{- end -}}
{{- range $role := list "view" "edit" "admin" -}}
  {{- $label := printf "rbac.authorization.k8s.io/aggregate-to-%s" $role -}}
  {{- if and (hasKey ($o.metadata.labels | default dict) $label) (not (has $role ($c.Values.rbac.aggregateToDefaultRoles | default list))) -}}
    {{- $_ := unset $o.metadata.labels $label -}}
  {{- end -}}
{{- end -}}
{{- /* Whom the proxy may act for, and with which extra values. */ -}}
{{- $impersonation := $c.Values.proxy.impersonation -}}
{{- if and (eq $o.kind "ClusterRole") (has $name (list "pat-operator-impersonator" "pat-operator-impersonator-constrained")) -}}
  {{- range $o.rules -}}
    {{- if has "uids" .resources -}}
      {{- $resources := .resources -}}
      {{- range $impersonation.extraKeys -}}{{- $resources = append $resources (printf "userextras/%s" .) -}}{{- end -}}
      {{- $_ := set . "resources" $resources -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and (eq $o.kind "ClusterRole") (eq $name "pat-operator-impersonator-listed") -}}
  {{- /* A rule without names would allow everybody, so each keeps the name that it has. */ -}}
  {{- range $o.rules -}}{{- $_ := set . "resourceNames" (concat .resourceNames (get $impersonation (index .resources 0))) -}}{{- end -}}
{{- end -}}
{{- /* Who finds the proxy, and the API face. */ -}}
{{- $finders := dict "pat-operator-proxy-discovery" $c.Values.proxy.discovery.groups "pat-operator-api-discovery" $c.Values.api.discovery.groups -}}
{{- if and (has $o.kind (list "RoleBinding" "ClusterRoleBinding")) (hasKey $finders $name) -}}
  {{- $subjects := list -}}
  {{- range get $finders $name -}}
    {{- $subjects = append $subjects (dict "apiGroup" "rbac.authorization.k8s.io" "kind" "Group" "name" .) -}}
  {{- end -}}
  {{- $_ := set $o "subjects" $subjects -}}
  {{- if not $subjects -}}{{- $out = true -}}{{- end -}}
{{- end -}}
{{- if eq $c.Values.mode "single" -}}
  {{- /* As config/single has it: one account with the rights of both. */ -}}
  {{- if eq $name "pat-operator-verifier" -}}
    {{- if eq $o.kind "ServiceAccount" -}}{{- $out = true -}}{{- end -}}
    {{- range $o.subjects -}}{{- $_ := set . "name" "pat-operator" -}}{{- end -}}
    {{- if eq $o.kind "FlowSchema" -}}
      {{- range $o.spec.rules -}}{{- range .subjects -}}{{- $_ := set .serviceAccount "name" "pat-operator" -}}{{- end -}}{{- end -}}
    {{- end -}}
  {{- end -}}
  {{- if and (eq $name "pat-operator-authorities") (eq $o.kind "ValidatingAdmissionPolicy") -}}
    {{- range $o.spec.variables -}}
      {{- if eq .name "authorities" -}}{{- $_ := set . "expression" "variables.proxy ? ['pat-operator-proxy-ca'] : variables.api ? ['pat-operator-api-ca'] : ['pat-operator-ca', 'pat-operator-verifier-ca']" -}}{{- end -}}
      {{- if eq .name "consoles" -}}{{- $_ := set . "expression" "variables.proxy || variables.api ? [] : ['pat-operator-console']" -}}{{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if not $out }}true{{ end -}}
{{- end -}}
