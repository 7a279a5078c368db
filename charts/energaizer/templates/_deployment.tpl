{{/* Both Deployments. Call with (dict "root" $ "component" "webhook" "values" .Values.webhook
     "own" (dict of settings) "ports" (list of name and number) "hostNetwork" bool). */}}
{{- define "energaizer.deployment" -}}
{{- $full := include "energaizer.fullname" .root -}}
{{- $selector := include "energaizer.selector" . -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $full }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "energaizer.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels: {{ $selector | nindent 6 }}
  strategy:
    {{- if .hostNetwork }}
    rollingUpdate: {maxUnavailable: 1, maxSurge: 0}     # a node has each port once
    {{- else }}
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
    {{- end }}
  template:
    metadata:
      labels:
        {{- include "energaizer.labels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
        {{- with .values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ .component }}
        {{- with .values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: {{ $full }}-{{ .component }}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets: {{ toYaml . | nindent 8 }}
      {{- end }}
      terminationGracePeriodSeconds: 30
      {{- with .values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- if .hostNetwork }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
      securityContext: {{ include "energaizer.podSecurity" .root | nindent 8 }}
      containers:
        - name: {{ .component }}
          image: {{ include "energaizer.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          command: [energaizer-operator, {{ .component }}]
          env:
            {{- include "energaizer.environment" . | nindent 12 }}
            {{- range list "PROBE" "WEBHOOK" }}
            - name: ENERGAIZER_OPERATOR_{{ . }}_ADDRESS
              valueFrom: {fieldRef: {fieldPath: status.podIP}}
            {{- end }}
          ports:
            {{- range .ports }}
            - {name: {{ .name }}, containerPort: {{ .number }}}
            {{- end }}
          startupProbe:
            httpGet: {path: /livez, port: probes}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /livez, port: probes}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: /readyz, port: probes}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 2
          resources: {{ toYaml .values.resources | nindent 12 }}
          securityContext: {{ include "energaizer.containerSecurity" .root | nindent 12 }}
          volumeMounts:
            - {name: scratch, mountPath: /tmp}
      volumes:
        - name: scratch     # in memory, for a private key passes through it
          emptyDir: {medium: Memory, sizeLimit: 16Mi}
      {{- with .values.nodeSelector }}
      nodeSelector: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.affinity }}
      affinity: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.tolerations }}
      tolerations: {{ toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{ $selector | nindent 14 }}
        {{- end }}
{{- end -}}
