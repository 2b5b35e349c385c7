{{- define "outward.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "outward.account" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "outward.fullname" .) "default") -}}
{{- end }}

{{/* The release's own: one namespace may hold several. */}}
{{- define "outward.selector" -}}
app.kubernetes.io/name: outward
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "outward.labels" -}}
{{ include "outward.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* image: (list root image name): what a container runs. */}}
{{- define "outward.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- $repository := required (printf "say %s.repository: there is no published image" (index . 2)) $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* What every container but the firewall's has. */}}
{{- define "outward.restricted" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "outward.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{/* What pods share with nobody. */}}
{{- define "outward.isolation" -}}
automountServiceAccountToken: false
shareProcessNamespace: false
{{- if kindIs "bool" .Values.hostUsers }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- end }}

{{/* A change of these rolls the pods: the proxy takes up everything else by itself. */}}
{{- define "outward.annotations" -}}
{{- if not .Values.existingConfigMap }}
{{- $config := fromYaml .Values.config }}
{{- if hasKey $config "Error" }}{{ fail (printf "config is not YAML: %s" $config.Error) }}{{ end }}
{{- if dig "server" "grace" "" $config }}{{ fail "config: write `grace` beside it rather than `server.grace`: the pod's own follows from it" }}{{ end }}
checksum/server: {{ $config.server | toJson | sha256sum }}
{{- end }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* proxy: (list root mode): the proxy's container, without what differs between the modes. */}}
{{- define "outward.proxy" -}}
{{- $root := index . 0 -}}{{- $mode := index . 1 -}}
image: {{ include "outward.image" (list $root $root.Values.image "image") | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: [serve, --log-format, json]
env:
  - {name: OUTWARD_LISTEN, value: {{ eq $root.Values.mode "gateway" | ternary "0.0.0.0:8080" "127.0.0.1:8080" | quote }}}
  - {name: OUTWARD_OPS, value: "0.0.0.0:9090"} # probes and scrapes come from outside the pod; tokens guard the rest
  - {name: OUTWARD_STATE, value: /var/lib/outward}
  - {name: OUTWARD_GRACE, value: {{ printf "%vs" $root.Values.grace | quote }}}
  {{- with $mode.recordsSecret }}
  - {name: OUTWARD_RECORDS_URL_FILE, value: /etc/outward-records/url} # one store for all pods
  {{- end }}
  {{- with $mode.adminSecret }}
  - {name: OUTWARD_ADMIN_TOKEN_FILE, value: /etc/outward-admin/token}
  {{- end }}
  {{- with $root.Values.admin.urls }}
  - {name: OUTWARD_ADMIN_URLS, value: {{ join "," . | quote }}}
  {{- end }}
  {{- if $root.Values.admin.tlsSecret }}
  - {name: OUTWARD_ADMIN_TLS_CERT, value: /etc/outward-ops-tls/tls.crt}
  - {name: OUTWARD_ADMIN_TLS_KEY, value: /etc/outward-ops-tls/tls.key}
  {{- end }}
  {{- with $root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $root.Values.extraEnvFrom }}
envFrom: {{ toJson . }}
{{- end }}
startupProbe: # ready in under a second; a slow node gets half a minute
  httpGet: {{ include "outward.probe" (list $root "/readyz") }}
  periodSeconds: 1
  failureThreshold: 30
readinessProbe:
  httpGet: {{ include "outward.probe" (list $root "/readyz") }}
  periodSeconds: 5
livenessProbe:
  httpGet: {{ include "outward.probe" (list $root "/healthz") }}
  periodSeconds: 10
resources: {{ toJson $mode.resources }}
securityContext:
  {{- include "outward.restricted" $root | nindent 2 }}
  {{- toYaml $root.Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/outward, readOnly: true} # a directory, so that changes arrive
  - {name: ca, mountPath: /etc/outward-ca, readOnly: true}
  - {name: state, mountPath: /var/lib/outward}
  - {name: tmp, mountPath: /tmp}
  {{- with $mode.recordsSecret }}
  - {name: records, mountPath: /etc/outward-records, readOnly: true}
  {{- end }}
  {{- with $mode.adminSecret }}
  - {name: admin, mountPath: /etc/outward-admin, readOnly: true}
  {{- end }}
  {{- if $root.Values.admin.tlsSecret }}
  - {name: ops-tls, mountPath: /etc/outward-ops-tls, readOnly: true}
  {{- end }}
  {{- if and $root.Values.teams.enabled (eq $root.Values.mode "gateway") }}
  - {name: policies, mountPath: /policies, readOnly: true}
  {{- end }}
  {{- with $root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "outward.probe" -}}
{{- $root := index . 0 -}}
{path: {{ index . 1 }}, port: ops{{ if $root.Values.admin.tlsSecret }}, scheme: HTTPS{{ end }}}
{{- end }}

{{- define "outward.scrape" -}}
{{- with .Values.admin.tlsSecret -}}
scheme: https, tlsConfig: {serverName: {{ include "outward.fullname" $ }}-ops.{{ $.Release.Namespace }}.svc, ca: {secret: {name: {{ . }}, key: ca.crt}}},
{{- end -}}
{{- end }}

{{- define "outward.proxy-volumes" -}}
{{- $root := index . 0 -}}{{- $mode := index . 1 -}}
- {name: config, configMap: {name: {{ $root.Values.existingConfigMap | default (include "outward.fullname" $root) }}}}
- {name: ca, secret: {secretName: {{ include "outward.ca" $root }}, defaultMode: 0440}} # the key: mounted in the proxy's container only
- {name: state, emptyDir: {sizeLimit: 1Gi}}
- {name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
{{- with $mode.recordsSecret }}
- {name: records, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with $mode.adminSecret }}
- {name: admin, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with $root.Values.admin.tlsSecret }}
- {name: ops-tls, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- if and $root.Values.teams.enabled (eq $root.Values.mode "gateway") }}
- {name: policies, emptyDir: {sizeLimit: 256Mi}}
- name: gatherer-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Gathers the ConfigMaps of teams. Only it has a token for the API server, and only it may write the folder. */}}
{{- define "outward.gatherer" -}}
- name: policies
  image: {{ include "outward.image" (list . .Values.teams.image "teams.image") | quote }}
  restartPolicy: Always # a sidecar: the proxy starts once its startup probe has passed
  env:
    - {name: METHOD, value: WATCH}
    - {name: RESOURCE, value: configmap}
    - {name: NAMESPACE, value: ALL}
    - {name: LABEL, value: outward.example/policy}
    - {name: LABEL_VALUE, value: "true"}
    - {name: FOLDER, value: /policies}
    - {name: UNIQUE_FILENAMES, value: "true"} # no ConfigMap chooses its file
    - {name: FOLDER_ANNOTATION, value: "/"} # no annotation can be called so: no ConfigMap chooses its folder
    - {name: HEALTH_PORT, value: "8081"}
  ports:
    - {name: gathered, containerPort: 8081}
  startupProbe: # passes after the first listing
    httpGet: {path: /healthz, port: gathered}
    periodSeconds: 1
    failureThreshold: 120
  resources: {{ toJson .Values.teams.resources }}
  securityContext:
    runAsUser: 65534
    runAsGroup: 10001
    {{- include "outward.restricted" . | nindent 4 }}
  volumeMounts:
    - {name: policies, mountPath: /policies}
    - {name: gatherer-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "outward.ca" -}}
{{- .Values.ca.existingSecret | default (printf "%s-ca" (include "outward.fullname" .)) -}}
{{- end }}

{{/* helper: (list root name): a container that runs a script as the agent, before it. */}}
{{- define "outward.script" -}}
{{- $root := index . 0 -}}
image: {{ include "outward.image" (list $root $root.Values.image "image") | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: {{ toJson (index . 1) }}
securityContext:
  {{- include "outward.as-agent" $root | nindent 2 }}
resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 64Mi}}
{{- end }}

{{- define "outward.as-agent" -}}
runAsUser: 10002
runAsGroup: 10002
{{ include "outward.restricted" . }}
{{- end }}

{{- define "outward.before-agent" -}}
- name: canary # the pod does not start where agents could go round the proxy
  {{- include "outward.script" (list . (list "python" "/scripts/canary.py")) | nindent 2 }}
  volumeMounts:
    - {name: scripts, mountPath: /scripts, readOnly: true}
{{- if not .Values.ca.bundleConfigMap }}
- name: trust # the system's roots and the proxy's CA in one file
  {{- include "outward.script" (list . (list "python" "/scripts/trust.py" "/ca/ca.crt" "/trust/bundle.pem")) | nindent 2 }}
  volumeMounts:
    - {name: scripts, mountPath: /scripts, readOnly: true}
    - {name: ca-certificate, mountPath: /ca, readOnly: true}
    - {name: trust, mountPath: /trust}
{{- end }}
{{- end }}

{{/* Where the gateway is: by the variable that Kubernetes sets for a Service. */}}
{{- define "outward.gateway" -}}
{{- printf "http://$(%s_SERVICE_HOST):8080" (include "outward.fullname" . | upper | replace "-" "_") -}}
{{- end }}

{{/* Holds the pod's token, and adds it to what the agent sends to the gateway. */}}
{{- define "outward.identity" -}}
- name: identity
  image: {{ include "outward.image" (list . .Values.image "image") | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [python, /identity/identity.py]
  restartPolicy: Always # a native sidecar: there before the agent, and gone after it
  env:
    - {name: IDENTITY_GATEWAY, value: {{ include "outward.gateway" . | quote }}}
    - {name: IDENTITY_TOKEN, value: /var/run/secrets/outward/token}
  startupProbe:
    exec:
      command: [python, -c, "import socket; socket.create_connection(('127.0.0.1', 3128), 1)"]
    periodSeconds: 1
    failureThreshold: 30
  securityContext:
    runAsUser: 10003 # not the agent's, which could read its memory
    runAsGroup: 10003
    {{- include "outward.restricted" . | nindent 4 }}
  resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 128Mi}}
  volumeMounts:
    - {name: identity, mountPath: /identity, readOnly: true}
    - {name: identity-token, mountPath: /var/run/secrets/outward, readOnly: true}
{{- end }}

{{- define "outward.identity-volumes" -}}
- {name: identity, configMap: {name: {{ include "outward.fullname" . }}-identity}}
- name: identity-token
  projected:
    sources:
      - serviceAccountToken: {audience: {{ .Values.agent.identity.audience }}, expirationSeconds: 3600, path: token}
{{- end }}

{{/* agent: (list root proxy): the agent's container. */}}
{{- define "outward.agent" -}}
{{- $root := index . 0 -}}{{- $proxy := index . 1 | quote -}}
name: agent
image: {{ include "outward.image" (list $root $root.Values.agent.image "agent.image") | quote }}
{{- with $root.Values.agent.command }}
command: {{ toJson . }}
{{- end }}
{{- with $root.Values.agent.args }}
args: {{ toJson . }}
{{- end }}
env:
  - {name: HTTPS_PROXY, value: {{ $proxy }}}
  - {name: HTTP_PROXY, value: {{ $proxy }}}
  - {name: https_proxy, value: {{ $proxy }}}
  - {name: http_proxy, value: {{ $proxy }}}
  - {name: NO_PROXY, value: ""} # nothing is reached without the proxy, so nothing is exempt
  - {name: no_proxy, value: ""}
  - {name: NODE_USE_ENV_PROXY, value: "1"}
  - {name: SSL_CERT_FILE, value: /trust/bundle.pem}
  - {name: REQUESTS_CA_BUNDLE, value: /trust/bundle.pem}
  - {name: CURL_CA_BUNDLE, value: /trust/bundle.pem}
  - {name: NODE_EXTRA_CA_CERTS, value: /trust/bundle.pem}
  - {name: GIT_SSL_CAINFO, value: /trust/bundle.pem}
  {{- with $root.Values.agent.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources: {{ toJson $root.Values.agent.resources }}
securityContext:
  {{- include "outward.as-agent" $root | nindent 2 }}
volumeMounts:
  - {name: trust, mountPath: /trust, readOnly: true}
  - {name: work, mountPath: /workspace}
  - {name: tmp-agent, mountPath: /tmp}
{{- end }}

{{- define "outward.agent-volumes" -}}
- {name: scripts, configMap: {name: {{ include "outward.fullname" . }}-scripts}}
{{- with .Values.ca.bundleConfigMap }}
- {name: trust, configMap: {name: {{ . }}, items: [{key: bundle.pem, path: bundle.pem}]}} # a folder, so that changes arrive
{{- else }}
- {name: ca-certificate, secret: {secretName: {{ include "outward.ca" . }}, items: [{key: ca.crt, path: ca.crt}], defaultMode: 0444}} # never the key
- {name: trust, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
{{- end }}
- {name: work, emptyDir: {sizeLimit: 4Gi}}
- {name: tmp-agent, emptyDir: {sizeLimit: 1Gi}}
{{- end }}

{{/* What the proxy may reach: names, and the public internet. */}}
{{- define "outward.egress" -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ .Values.networkPolicy.dns.namespace }}}
      podSelector:
        matchLabels: {{ toJson .Values.networkPolicy.dns.podLabels }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
# The public internet, and nothing of the inside: a second fence behind the proxy's own judgement of addresses.
# What `upstream.internal` opens in the configuration has to be opened in `networkPolicy.egress` too, and so does PostgreSQL.
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          - 0.0.0.0/8
          - 10.0.0.0/8
          - 100.64.0.0/10
          - 127.0.0.0/8
          - 168.63.129.16/32
          - 169.254.0.0/16
          - 172.16.0.0/12
          - 192.0.0.0/24
          - 192.168.0.0/16
          - 198.18.0.0/15
          - 224.0.0.0/4
          - 240.0.0.0/4
    - ipBlock:
        cidr: 2000::/3 # all of global unicast; the rest of IPv6 is not the internet
        except:
          - 2001::/23
          - 2002::/16
          - 2620:4f:8000::/48
          - 3fff::/20
  ports:
    - {protocol: TCP, port: 1, endPort: 65535}
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "outward.ops-ingress" -}}
- from:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ .Values.metrics.namespace }}}
    {{- with .Values.networkPolicy.opsFrom }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {protocol: TCP, port: 9090}
{{- end }}
