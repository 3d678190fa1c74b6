#!/usr/bin/env bash
# The main job, told on the terminal: a real cluster with KEDA, an app deployed with one command, woken by a request, grown by
# load, put to sleep by silence, with its columns moving all along. Every command that is shown can be typed again.
set -euo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
bold=$'\e[1m' dim=$'\e[2m' cyan=$'\e[36m' plain=$'\e[0m'
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || bold= dim= cyan= plain=

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() {
	printf '%s$ %s%s\n' "$cyan" "$*" "$plain"
	eval "$*"
}

command -v curl >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends curl >/dev/null; }

say "A real cluster: Kubernetes and KEDA, in a network namespace of its own. The first time it is built from source."
run bin/cluster up demo
run bin/cluster install demo --repo .
run 'eval "$(bin/cluster env demo)"; export PATH=$PWD/bin:$PATH'

say "1. An app, in one command."
run "kubectl http deploy hello --image kedahttp/test-echo:dev --image-pull-policy Never --health /healthz --scale 0..5 --concurrency 2 --idle 15s"
url=$(kubectl get httpapp hello -o 'jsonpath={.status.url}')

say "2. It costs nothing yet: one object made a Deployment, a Service and a ScaledObject, and there is no pod."
run "kubectl get httpapp,deployment,service,scaledobject,pods -l 'apps.http.keda.sh/httpapp=hello'"

say "3. From here on this watch runs beside the story. Nobody writes to the object: its columns are live."
printf '%s$ kubectl get httpapp hello --watch%s\n' "$cyan" "$plain"
kubectl get httpapp hello --watch > >(sed -u "s/^/  ${dim}│ /; s/\$/${plain}/") &
watch=$!
trap 'kill $watch 2>/dev/null || true' EXIT

say "4. The first request wakes it, and is answered by the pod that it woke."
run "curl -sS -w '\n%{http_code} after %{time_total} s\n' $url"

say "5. Ten requests at a time, where one replica is for two: KEDA is told, and scales to five."
yes | xargs -P 10 -I% curl -sS -o /dev/null "$url?delay=1s" 2>/dev/null &
load=$!
trap 'kill $watch $load 2>/dev/null || true' EXIT
run "kubectl wait --for=jsonpath='{.status.readyReplicas}'=5 httpapp/hello --timeout=180s"
run "kubectl get hpa,scaledobject,pods -l 'apps.http.keda.sh/httpapp=hello' || kubectl get hpa,scaledobject,pods"
run "kubectl get httpapp hello -o jsonpath='{.status.traffic}{\"\n\"}'"

say "6. Silence: after 15 s the last pod goes, too."
kill $load 2>/dev/null || true
run "kubectl wait --for=jsonpath='{.spec.replicas}'=0 deployment/hello --timeout=180s"
run "kubectl http status hello"
kill $watch 2>/dev/null || true

say "That was it, in $((SECONDS - started)) s. The cluster goes on running. What to try next:"
cat <<END
  eval "\$(bin/cluster env demo)"; export PATH=\$PWD/bin:\$PATH     # in your shell, then:
  kubectl get httpapps -w                                        # live
  $(printf "%-62s" "curl $url") # wake it again
  kubectl explain httpapp.spec.scaling
  kubectl http deploy NAME --image ...                           # images: bin/cluster load demo FILE.tar
  make demo-down                                                 # remove everything
END
