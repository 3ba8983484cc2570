{{/*
One Deployment or DaemonSet. Call with a dict:
context; values (of operator or verifier); kind; name; component (of the selector); label (the component that the object's
label names); args and ports (lists); files (sources of the volume /etc/pat-operator, may be empty); grace (in seconds, of a
process that drains on its own; without it, there is a pause before the process is told to end).
*/}}
{{- define "pat-operator.workload" -}}
{{- $c := .context -}}
{{- $v := .values -}}
{{- $selector := include "pat-operator.selector" .component -}}
{{- $daemon := eq .kind "DaemonSet" -}}
{{- $volumes := list -}}
{{- $mounts := list -}}
{{- if .files -}}
{{- $volumes = list (dict "name" "pat-operator" "projected" (dict "sources" .files)) -}}
{{- $mounts = list (dict "name" "pat-operator" "mountPath" "/etc/pat-operator" "readOnly" true) -}}
{{- end -}}
{{- $podLabels := mergeOverwrite (dict) (deepCopy ($c.Values.commonLabels | default dict)) (deepCopy ($v.podLabels | default dict)) (fromYaml $selector) -}}
apiVersion: apps/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  namespace: {{ $c.Release.Namespace | quote }}
  {{- with $v.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  labels:
    {{- include "pat-operator.labels" (dict "context" $c "labels" (mergeOverwrite (dict) ($v.labels | default dict) (dict "app.kubernetes.io/component" .label))) | nindent 4 }}
spec:
  {{- if and (not $daemon) (not (kindIs "invalid" $v.replicas)) }}
  replicas: {{ $v.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
  {{- if $daemon }}
  updateStrategy:
    rollingUpdate:
      maxUnavailable: 1
  {{- else }}
  strategy:
    rollingUpdate:
      {{- if $v.hostNetwork }}
      {{- /* A second pod on a node would find the ports taken. */}}
      maxUnavailable: 1
      maxSurge: 0
      {{- else }}
      maxUnavailable: 0
      {{- end }}
  {{- end }}
  template:
    metadata:
      annotations:
        {{- /* kube-apiserver is in no service mesh, and the proxy ends TLS itself. */}}
        {{- toYaml (mergeOverwrite (dict "kubectl.kubernetes.io/default-container" "manager" "kuma.io/sidecar-injection" "disabled"
          "linkerd.io/inject" "disabled" "sidecar.istio.io/inject" "false") ($v.podAnnotations | default dict)) | nindent 8 }}
      labels:
        {{- toYaml $podLabels | nindent 8 }}
    spec:
      serviceAccountName: {{ .name }}
      enableServiceLinks: false
      {{- with (($c.Values.global).imagePullSecrets) }}
      imagePullSecrets:
        {{- range . }}
        {{- if kindIs "string" . }}
        - name: {{ . | quote }}
        {{- else }}
        - {{- toYaml . | nindent 10 }}
        {{- end }}
        {{- end }}
      {{- end }}
      {{- if $v.hostNetwork }}
      hostNetwork: true
      {{- end }}
      {{- with $v.dnsPolicy | default ($v.hostNetwork | ternary "ClusterFirstWithHostNet" "") }}
      dnsPolicy: {{ . }}
      {{- end }}
      {{- with $v.priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      {{- /* The pause below, the drain (2 s), and the slowest request that the server's limits allow (20 s). */}}
      terminationGracePeriodSeconds: {{ .grace | default 30 }}
      {{- with $v.podSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if and $v.topologySpreadConstraints (not $daemon) }}
      topologySpreadConstraints:
        {{- range $v.topologySpreadConstraints }}
        - {{- toYaml (mergeOverwrite (dict "labelSelector" (dict "matchLabels" (fromYaml $selector))) .) | nindent 10 }}
        {{- end }}
      {{- end }}
      containers:
        - name: manager
          image: {{ include "pat-operator.image" $c | quote }}
          imagePullPolicy: {{ $c.Values.image.pullPolicy }}
          args:
            {{- toYaml (concat .args ($v.extraArgs | default list)) | nindent 12 }}
          {{- with $v.env }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            {{- toYaml .ports | nindent 12 }}
          {{- if not .grace }}
          {{- /* Keeps serving until every node knows that this pod has left the endpoints. */}}
          lifecycle:
            preStop:
              sleep:
                seconds: 5
          {{- end }}
          livenessProbe:
            httpGet:
              path: /healthz
              port: health
            initialDelaySeconds: 15
            periodSeconds: 20
          readinessProbe:
            httpGet:
              path: /readyz
              port: health
            initialDelaySeconds: 2
            periodSeconds: 5
          {{- with $v.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with $v.securityContext }}
          securityContext:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with concat $mounts ($v.volumeMounts | default list) }}
          volumeMounts:
            {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with concat $volumes ($v.volumes | default list) }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}

{{/* The flags that every process has, as YAML. Call with a dict: context, values, command. */}}
{{- define "pat-operator.args" -}}
{{- $c := .context -}}
{{- $args := list .command (printf "--operator-namespace=%s" $c.Release.Namespace) (printf "--records-namespace=%s" (include "pat-operator.recordsNamespace" $c)) -}}
{{- if ne (int .values.ports.health) 8081 }}{{ $args = append $args (printf "--health-probe-bind-address=:%d" (int .values.ports.health)) }}{{ end -}}
{{- with $c.Values.maxLifetime }}{{ $args = append $args (printf "--max-lifetime=%s" .) }}{{ end -}}
{{- if not $c.Values.metrics.enabled }}{{ $args = append $args "--metrics-bind-address=0" -}}
{{- else if ne (int .values.ports.metrics) 8443 }}{{ $args = append $args (printf "--metrics-bind-address=:%d" (int .values.ports.metrics)) }}{{ end -}}
{{- with $c.Values.auditLog }}{{ $args = append $args (printf "--audit-log=%s" .) }}{{ end -}}
{{- toYaml $args -}}
{{- end -}}

{{/* The further flags of a process that verifies, as YAML. */}}
{{- define "pat-operator.verifierArgs" -}}
{{- $args := list -}}
{{- $ports := .Values.verifier.ports -}}
{{- if ne (int $ports.verifier) 9444 }}{{ $args = append $args (printf "--verifier-bind-address=:%d" (int $ports.verifier)) }}{{ end -}}
{{- with .Values.verifier.endpoint }}{{ $args = append $args (printf "--verifier-url=%s/authenticate" .) }}{{ end }}
{{- with .Values.verifier.apiServers }}{{ $args = append $args (printf "--kube-apiservers=%s" (join "," .)) }}{{ end }}
{{- if .Values.verifier.trustPath }}{{ $args = append $args "--scoped-tokens-trust-path" }}{{ end }}
{{- if .Values.verifier.clientCA.configMap }}{{ $args = append $args "--verifier-client-ca-file=/etc/pat-operator/verifier/client-ca.crt" }}{{ end }}
{{- with .Values.verifier.upstreamTokenWebhook }}{{ if .secret }}
{{- $args = append $args (printf "--upstream-token-webhook-kubeconfig=/etc/pat-operator/%s" .key) }}
{{- with .timeout }}{{ $args = append $args (printf "--upstream-token-webhook-timeout=%s" .) }}{{ end }}
{{- end }}{{ end }}
{{- with .Values.console }}
{{- if .enabled }}
{{- $args = concat $args (list (printf "--console-bind-address=:%d" (int $ports.console)) (printf "--serving-host=pat-operator-console.%s.svc" $.Release.Namespace)) }}
{{- $args = append $args (printf "--console-url=%s" (required "console.url is empty: set it to where browsers reach the console, for example https://tokens.example.com" .url)) }}
{{- with .oidc }}
{{- if .issuerURL }}
{{- $args = concat $args (list (printf "--console-oidc-issuer-url=%s" .issuerURL) (printf "--console-oidc-client-id=%s" (required "console.oidc.clientID is empty: set it to the console's client at console.oidc.issuerURL" .clientID))) }}
{{- if .clientSecret.name }}{{ $args = append $args "--console-oidc-client-secret-file=/etc/pat-operator/console/client-secret" }}{{ end }}
{{- if .ca.configMap }}{{ $args = append $args "--console-oidc-ca-file=/etc/pat-operator/console/ca.crt" }}{{ end }}
{{- with .scopes }}{{ $args = append $args (printf "--console-oidc-scopes=%s" (join "," .)) }}{{ end }}
{{- with .name }}{{ $args = append $args (printf "--console-oidc-name=%s" .) }}{{ end }}
{{- end }}
{{- end }}
{{- with .apiServer.url }}{{ $args = append $args (printf "--console-api-server-url=%s" .) }}{{ end }}
{{- if .apiServer.ca.configMap }}{{ $args = append $args "--console-api-server-ca-file=/etc/pat-operator/console/api-server-ca.crt" }}{{ end }}
{{- if .proxyAuthorization }}{{ $args = append $args "--console-proxy-authorization" }}{{ end }}
{{- with .namespaces }}{{ $args = append $args (printf "--console-namespaces=%s" (join "," .)) }}{{ end }}
{{- end }}
{{- end }}
{{- toYaml $args -}}
{{- end -}}

{{/* The ports of a process that verifies, as YAML. */}}
{{- define "pat-operator.verifierPorts" -}}
{{- $ports := list (dict "name" "verifier" "containerPort" .Values.verifier.ports.verifier) -}}
{{- if .Values.console.enabled }}{{ $ports = append $ports (dict "name" "console" "containerPort" .Values.verifier.ports.console) }}{{ end -}}
{{- toYaml $ports -}}
{{- end -}}

{{/* What a process that verifies reads from files, as sources of a projected volume in YAML. Paths are those of the flags above. */}}
{{- define "pat-operator.verifierFiles" -}}
{{- $sources := list -}}
{{- with .Values.verifier.clientCA }}{{ if .configMap }}
{{- $sources = append $sources (include "pat-operator.ca" (dict "ca" . "path" "verifier/client-ca.crt") | fromYaml) }}
{{- end }}{{ end }}
{{- /* All keys in one folder, since the kubeconfig names files without one. */}}
{{- with .Values.verifier.upstreamTokenWebhook }}{{ if .secret }}
{{- $sources = append $sources (dict "secret" (dict "name" .secret)) }}
{{- end }}{{ end }}
{{- with .Values.console }}{{ if .enabled }}
{{- if .oidc.issuerURL }}
{{- with .oidc.clientSecret }}{{ if .name }}
{{- $sources = append $sources (dict "secret" (dict "name" .name "items" (list (dict "key" .key "path" "console/client-secret")))) }}
{{- end }}{{ end }}
{{- if .oidc.ca.configMap }}{{ $sources = append $sources (include "pat-operator.ca" (dict "ca" .oidc.ca "path" "console/ca.crt") | fromYaml) }}{{ end }}
{{- end }}
{{- if .apiServer.ca.configMap }}{{ $sources = append $sources (include "pat-operator.ca" (dict "ca" .apiServer.ca "path" "console/api-server-ca.crt") | fromYaml) }}{{ end }}
{{- end }}{{ end -}}
{{- toYaml $sources -}}
{{- end -}}

{{- define "pat-operator.ca" -}}
{{- toYaml (dict "configMap" (dict "name" .ca.configMap "items" (list (dict "key" .ca.key "path" .path)))) -}}
{{- end -}}

{{/* A PodDisruptionBudget. Call with a dict: context, values, name, component. One replica that may not be evicted would hold up drains. */}}
{{- define "pat-operator.pdb" -}}
{{- $replicas := .values.replicas -}}
{{- if and .values.pdb.enabled (or (kindIs "invalid" $replicas) (gt (int $replicas) 1)) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .context.Release.Namespace | quote }}
  labels:
    {{- include "pat-operator.labels" (dict "context" .context) | nindent 4 }}
spec:
  maxUnavailable: {{ .values.pdb.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "pat-operator.selector" .component | nindent 6 }}
{{- end }}
{{- end -}}
