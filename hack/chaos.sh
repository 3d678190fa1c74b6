#!/usr/bin/env bash
# Breaks the parts of a running system one by one, under load; see test/chaos.
#
#	hack/chaos.sh [--seed N] [--only REGEX] [FLAG…]
#
# It runs in a cluster of its own, which is removed afterwards. CHAOS_CLUSTER=NAME uses, and keeps, that one.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=${CHAOS_CLUSTER:-}
if [ -z "$cluster" ]; then
	cluster=chaos
	trap 'bin/cluster down "$cluster"' EXIT
	bin/cluster up "$cluster"
	bin/cluster install "$cluster" --repo .
fi
CGO_ENABLED=0 go build -o bin/chaos ./test/chaos
eval "$(bin/cluster env "$cluster")"
nsenter --net="$KEDAHTTP_NETNS" bin/chaos --home "/proc/$$/ns/net" "$@"
