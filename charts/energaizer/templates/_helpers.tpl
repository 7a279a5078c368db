{{- define "energaizer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of every object's name; short enough for the longest suffix, -webhook-certificate. */}}
{{- define "energaizer.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "energaizer.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "energaizer.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "energaizer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: energaizer
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Call with (dict "root" $ "component" "webhook"). */}}
{{- define "energaizer.selector" -}}
app.kubernetes.io/name: {{ include "energaizer.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Which features with rights of their own, files/features/*.yaml, are on. */}}
{{- define "energaizer.features" -}}
power: {{ .Values.powerResource.enabled }}
node-labels: {{ .Values.nodeLabels.enabled }}
annotate-owners: {{ .Values.annotateOwners }}
kueue: {{ .Values.kueue.enabled }}
{{- end -}}

{{- define "energaizer.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "energaizer.certificateSecret" -}}
{{- if eq .Values.certificates.mode "provided" -}}
{{- required "certificates.mode provided needs certificates.secretName" .Values.certificates.secretName -}}
{{- else -}}
{{- include "energaizer.fullname" . }}-webhook-certificate
{{- end -}}
{{- end -}}

{{/* What cert-manager's injector is told: the Certificate whose CA it copies. */}}
{{- define "energaizer.injectFrom" -}}
{{ .Release.Namespace }}/{{ include "energaizer.fullname" . }}-webhook
{{- end -}}

{{/* Settings that every process has. Call with (dict "root" $ "own" (dict ...)); `own` and then
     `settings` of the values win. Names are fields of settings.py. */}}
{{- define "energaizer.environment" -}}
{{- $values := .root.Values -}}
{{- $all := dict "log_format" $values.log.format "log_level" $values.log.level
      "hold" $values.hold.enabled
      "power_resource" $values.powerResource.enabled
      "node_labels" $values.nodeLabels.enabled
      "annotate_owners" $values.annotateOwners
      "kueue" $values.kueue.enabled
      "metrics_workload_limit" $values.metrics.perWorkload.limit
      "metrics_candidates" $values.metrics.candidates
      "feedback_prometheus_url" $values.feedback.prometheusURL
      "feedback_source" $values.feedback.source
      "feedback_s" $values.feedback.windowSeconds -}}
{{- $all = merge (deepCopy $values.settings) .own $all -}}
- name: ENERGAIZER_OPERATOR_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: ENERGAIZER_OPERATOR_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- range $name, $value := $all }}
- name: ENERGAIZER_OPERATOR_{{ upper $name }}
  value: {{ if kindIs "slice" $value }}{{ join "," $value | quote }}{{ else if kindIs "float64" $value }}{{ $value | toJson | quote }}{{ else }}{{ $value | quote }}{{ end }}
{{- end }}
{{- end -}}

{{/* Passes Pod Security `restricted`. */}}
{{- define "energaizer.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "energaizer.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A short run of our image: hooks and tests. Call with (dict "root" $ "account" ... "args" ...). */}}
{{- define "energaizer.oncePod" -}}
restartPolicy: Never
serviceAccountName: {{ .account }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.controller.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.controller.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext: {{ include "energaizer.podSecurity" .root | nindent 2 }}
containers:
  - name: energaizer
    image: {{ include "energaizer.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: {{ toJson (concat (list "energaizer-operator") .args) }}
    env: {{ include "energaizer.environment" (dict "root" .root "own" .own) | nindent 6 }}
    securityContext: {{ include "energaizer.containerSecurity" .root | nindent 6 }}
    resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}
    volumeMounts: [{name: scratch, mountPath: /tmp}]
volumes:
  - {name: scratch, emptyDir: {sizeLimit: 16Mi}}
{{- end -}}

{{/* An account that exists while a hook runs. Call with (dict "root" $ "name" ... "when" hook
     "clusterRules" list "rules" list). */}}
{{- define "energaizer.hookAccount" -}}
{{- $root := .root -}}
{{- $name := .name -}}
{{- $when := .when -}}
{{- $kinds := list (dict "prefix" "Cluster" "rules" .clusterRules) (dict "prefix" "" "rules" .rules) -}}
apiVersion: v1
kind: ServiceAccount
metadata: {{ include "energaizer.hookMetadata" (dict "root" $root "name" $name "when" $when "namespaced" true) | nindent 2 }}
{{- range $kinds }}
{{- if .rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .prefix }}Role
metadata: {{ include "energaizer.hookMetadata" (dict "root" $root "name" $name "when" $when "namespaced" (not .prefix)) | nindent 2 }}
rules: {{ toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .prefix }}RoleBinding
metadata: {{ include "energaizer.hookMetadata" (dict "root" $root "name" $name "when" $when "namespaced" (not .prefix)) | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ .prefix }}Role, name: {{ $name }}}
subjects:
  - {kind: ServiceAccount, name: {{ $name }}, namespace: {{ $root.Release.Namespace }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "energaizer.hookMetadata" -}}
name: {{ .name }}
{{- if .namespaced }}
namespace: {{ .root.Release.Namespace }}
{{- end }}
labels: {{ include "energaizer.labels" .root | nindent 2 }}
annotations:
  helm.sh/hook: {{ .when }}
  helm.sh/hook-weight: "0"
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
