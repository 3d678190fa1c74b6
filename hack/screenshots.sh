#!/usr/bin/env bash
# Makes docs/top.svg: kubectl http top as it looks on a terminal, of apps under load in a running cluster.
#
#	hack/screenshots.sh CLUSTER
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=${1:?the name of a running cluster, of bin/cluster list}
command -v tmux >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends tmux >/dev/null; }
eval "$(bin/cluster env "$cluster")"
export PATH=$PWD/bin:$PATH
work=$(mktemp -d)
namespace=shop
end() {
	kill ${loads:-} 2>/dev/null || true
	tmux -L screenshot kill-server 2>/dev/null || true
	kubectl delete namespace $namespace --timeout=2m >/dev/null
	rm -rf "$work"
}
trap end EXIT

kubectl create namespace $namespace >/dev/null
for app in cart search reports; do
	kubectl http deploy $app -n $namespace --image kedahttp/test-echo:dev --image-pull-policy Never --health /healthz --scale 0..4 --concurrency 2 >/dev/null
done
loads=
kubectl http load cart '/?delay=400ms' -n $namespace -c 8 -z 2m >/dev/null & loads+=" $!"
kubectl http load search '/?delay=60ms' -n $namespace --rate 20 -z 2m >/dev/null & loads+=" $!"
tmux -u -L screenshot new-session -d -x 104 -y 12 -e KUBECONFIG="$KUBECONFIG" -e PATH="$PATH" "kubectl http top -n $namespace"
kubectl wait --for=jsonpath='{.status.readyReplicas}'=4 httpapp/cart -n $namespace --timeout=120s >/dev/null
sleep 20 # for a past to be drawn
tmux -u -L screenshot capture-pane -e -p >"$work/screen"
go run ./hack/screenshot <"$work/screen" >"$work/top.svg"
mv "$work/top.svg" docs/top.svg
