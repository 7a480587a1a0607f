{{/*
The configuration file of the program: `config` of the values, what the chart decides itself, and where secrets are.
What contradicts itself is refused here, as the schema can not say it.
*/}}

{{- define "sphere.config" -}}
{{- include "sphere.checkSecrets" . -}}
{{- $config := dict "step" .Values.config.step "log" .Values.config.log "listen" (printf "0.0.0.0:%d" (int .Values.service.port)) -}}
{{- range $section := list "source" "bus" "store" "collect" "forecast" "cache" "autoscale" "kubernetes" "operator" -}}
{{- with index $.Values.config $section -}}
{{- $_ := set $config $section (deepCopy .) -}}
{{- end -}}
{{- end -}}
{{- if not .Values.config.store -}}
{{- /* On a volume that lives as long as the pod: a container that restarts knows what it knew. */ -}}
{{- $_ := set $config "store" (dict "file" (dict "path" "/var/lib/sphere/state.redb")) -}}
{{- end -}}
{{- with .Values.watchNamespaces -}}
{{- $_ := set $config "operator" (merge (dict "namespaces" .) (default dict $config.operator)) -}}
{{- end -}}
{{- if .Values.changeBudget.maxReplicasChanged -}}
{{- $limit := dict "max_replicas_changed" (int .Values.changeBudget.maxReplicasChanged) "window_s" (int .Values.changeBudget.windowSeconds) -}}
{{- $_ := set $config "autoscale" (merge (dict "changeLimit" $limit) (default dict $config.autoscale)) -}}
{{- end -}}
{{- $secrets := .Values.secrets -}}
{{- with $secrets.kafka.existingSecret -}}
{{- $kafka := $config.bus.kafka -}}
{{- if $secrets.kafka.keys.password -}}
{{- $_ := set $kafka.sasl "passwordFile" "/etc/sphere/secrets/kafka/password" -}}
{{- end -}}
{{- include "sphere.tlsFiles" (dict "section" $kafka "keys" $secrets.kafka.keys "folder" "kafka") -}}
{{- end -}}
{{- with $secrets.redis.existingSecret -}}
{{- $redis := $config.store.redis -}}
{{- if $secrets.redis.keys.password -}}
{{- $_ := set $redis "passwordFile" "/etc/sphere/secrets/redis/password" -}}
{{- end -}}
{{- include "sphere.tlsFiles" (dict "section" $redis "keys" $secrets.redis.keys "folder" "redis") -}}
{{- end -}}
{{- with $secrets.prometheus.existingSecret -}}
{{- $prometheus := $config.source.prometheus -}}
{{- $keys := $secrets.prometheus.keys -}}
{{- if $keys.bearerToken -}}
{{- $_ := set $prometheus "auth" (dict "bearerTokenFile" "/etc/sphere/secrets/prometheus/bearerToken") -}}
{{- else if $keys.password -}}
{{- $_ := set $prometheus "auth" (dict "basic" (dict "username" $secrets.prometheus.username "passwordFile" "/etc/sphere/secrets/prometheus/password")) -}}
{{- end -}}
{{- include "sphere.tlsFiles" (dict "section" $prometheus "keys" $keys "folder" "prometheus") -}}
{{- end -}}
{{- if $secrets.metrics.keys.token -}}
{{- $_ := set $config "metricsTokenFile" "/etc/sphere/secrets/metrics/token" -}}
{{- end -}}
{{- if $secrets.metrics.keys.cert -}}
{{- $_ := set $config "listenTls" (dict "certFile" "/etc/sphere/secrets/metrics/cert" "keyFile" "/etc/sphere/secrets/metrics/key") -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* How /metrics and the probes are spoken to. */}}
{{- define "sphere.scheme" -}}
{{- if .Values.secrets.metrics.keys.cert }}HTTPS{{ else }}HTTP{{ end -}}
{{- end -}}

{{/* Names the mounted PEM files in the `tls` of a section. Prints nothing. */}}
{{- define "sphere.tlsFiles" -}}
{{- $tls := default dict .section.tls -}}
{{- range $key, $field := dict "ca" "caFile" "cert" "certFile" "key" "keyFile" -}}
{{- if index $.keys $key -}}
{{- $_ := set $tls $field (printf "/etc/sphere/secrets/%s/%s" $.folder $key) -}}
{{- end -}}
{{- end -}}
{{- if $tls -}}
{{- $_ := set .section "tls" $tls -}}
{{- end -}}
{{- end -}}

{{- define "sphere.checkSecrets" -}}
{{- $config := .Values.config -}}
{{- $secrets := .Values.secrets -}}
{{- range $name, $secret := $secrets -}}
{{- $keys := list -}}
{{- range $key, $value := $secret.keys -}}
{{- if $value -}}{{- $keys = append $keys $key -}}{{- end -}}
{{- end -}}
{{- if and $keys (not $secret.existingSecret) -}}
{{- fail (printf "secrets.%s.existingSecret: empty, though secrets.%s.keys names %s; the name of a Secret in this namespace is expected" $name $name (join ", " $keys)) -}}
{{- end -}}
{{- if and $secret.existingSecret (not $keys) -}}
{{- fail (printf "secrets.%s.keys: all empty, though secrets.%s.existingSecret is %q; which of its keys hold what is expected" $name $name $secret.existingSecret) -}}
{{- end -}}
{{- if and $secret.keys.cert (not $secret.keys.key) -}}
{{- fail (printf "secrets.%s.keys.key: empty; keys.cert needs it" $name) -}}
{{- end -}}
{{- if and $secret.keys.key (not $secret.keys.cert) -}}
{{- fail (printf "secrets.%s.keys.cert: empty; keys.key needs it" $name) -}}
{{- end -}}
{{- end -}}
{{- if $secrets.kafka.existingSecret -}}
{{- if not (dig "kafka" false $config.bus) -}}
{{- fail "secrets.kafka: given, though config.bus is not {kafka: …}" -}}
{{- end -}}
{{- if and $secrets.kafka.keys.password (not (dig "kafka" "sasl" false $config.bus)) -}}
{{- fail "config.bus.kafka.sasl: absent, though secrets.kafka.keys.password is given; {mechanism: SCRAM-SHA-512, username: …} is expected" -}}
{{- end -}}
{{- end -}}
{{- if and $secrets.redis.existingSecret (not (dig "redis" false $config.store)) -}}
{{- fail "secrets.redis: given, though config.store is not {redis: …}" -}}
{{- end -}}
{{- if and $secrets.prometheus.existingSecret (not (dig "prometheus" false $config.source)) -}}
{{- fail "secrets.prometheus: given, though config.source is not {prometheus: …}" -}}
{{- end -}}
{{- with $secrets.prometheus -}}
{{- if and .keys.bearerToken .keys.password -}}
{{- fail "secrets.prometheus.keys: bearerToken and password are both given; one is expected" -}}
{{- end -}}
{{- if and .keys.password (not .username) -}}
{{- fail "secrets.prometheus.username: empty; keys.password needs it" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Ports of host:port entries, once each, as rules of a NetworkPolicy. */}}
{{- define "sphere.portsOf" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}
{{- end -}}
{{- range $ports | uniq }}
- protocol: TCP
  port: {{ . }}
{{- end -}}
{{- end -}}

{{/* Port of a URL. */}}
{{- define "sphere.portOfUrl" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- if $port -}}{{- $port -}}{{- else if eq $url.scheme "https" -}}443{{- else -}}80{{- end -}}
{{- end -}}
