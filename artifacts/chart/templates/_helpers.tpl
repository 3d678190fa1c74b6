{{/* What every object has beside what selects its pods. */}}
{{- define "kedahttp.labels" -}}
app.kubernetes.io/part-of: kedahttp
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The image of a part: list . "interceptor" */}}
{{- define "kedahttp.image" -}}
{{- $ := index . 0 -}}
{{ $.Values.image.repository }}/{{ index . 1 }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}
{{- end }}

{{/* The objects of a file of ../base, in the release's namespace: list . "roles.yaml" */}}
{{- define "kedahttp.base" -}}
{{- $ := index . 0 -}}
{{- range splitList "\n---\n" ($.Files.Get (printf "files/%s" (index . 1)) | replace "kedahttp-system" $.Release.Namespace) }}
{{- $object := fromYaml . }}
{{- $labels := fromYaml (include "kedahttp.labels" $) }}
{{- $_ := set $object.metadata "labels" (merge (default dict $object.metadata.labels) $labels) }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}

{{/* What the pods of all parts have: list . "interceptor" */}}
{{- define "kedahttp.pod" -}}
{{- $ := index . 0 -}}
{{- $name := printf "kedahttp-%s" (index . 1) -}}
{{- $part := index $.Values (index . 1) -}}
serviceAccountName: {{ $name }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $part.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range $part.topologySpreadConstraints }}
  - {{ toYaml (merge (dict "labelSelector" (dict "matchLabels" (dict "app.kubernetes.io/name" $name))) .) | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A part's pods are on different nodes where there are some. */}}
{{- define "kedahttp.apart" -}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: {{ . }}
{{- end }}

{{/* The labels and annotations of a part's pods: list . "interceptor" */}}
{{- define "kedahttp.podMetadata" -}}
{{- $ := index . 0 -}}
{{- $part := index $.Values (index . 1) -}}
{{- with $part.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  app.kubernetes.io/name: kedahttp-{{ index . 1 }}
  {{- with $part.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "kedahttp.tracing" -}}
apiVersion: apiserver.config.k8s.io/v1
kind: TracingConfiguration
endpoint: {{ .Values.tracing.endpoint }}
samplingRatePerMillion: {{ int .Values.tracing.samplingRatePerMillion }}
{{- end }}

{{- define "kedahttp.tracingName" -}}
kedahttp-tracing-{{ include "kedahttp.tracing" . | sha256sum | trunc 8 }}
{{- end }}

{{- define "kedahttp.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The disruption budget of a part: list . "interceptor" */}}
{{- define "kedahttp.disruption" -}}
{{- $ := index . 0 -}}
{{- if $.Values.podDisruptionBudgets }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: kedahttp-{{ index . 1 }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "kedahttp.labels" $ | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: kedahttp-{{ index . 1 }}
{{- end }}
{{- end }}

{{/* The seconds of a duration such as 90s, 5m or 1h. */}}
{{- define "kedahttp.seconds" -}}
{{- $n := regexFind "^[0-9]+" . | int -}}
{{- if hasSuffix "h" . }}{{ mul $n 3600 }}{{ else if hasSuffix "m" . }}{{ mul $n 60 }}{{ else }}{{ $n }}{{ end -}}
{{- end }}
