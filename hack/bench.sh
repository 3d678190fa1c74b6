#!/usr/bin/env bash
# Runs a benchmark of test/bench in a cluster of its own, which is removed afterwards, from inside the cluster's network
# namespace: what is measured is not a forwarder. BENCH_CLUSTER=NAME uses, and keeps, that one.
#
#	hack/bench.sh apiserver [FLAG…]
set -euo pipefail
cd "$(dirname "$0")/.."
what=$1
shift

cluster=${BENCH_CLUSTER:-}
if [ -z "$cluster" ]; then
	cluster=bench
	trap 'bin/cluster down "$cluster"' EXIT
	bin/cluster up "$cluster" --without-keda
	bin/cluster install "$cluster" --repo .
fi
CGO_ENABLED=0 go build -o "bin/bench-$what" "./test/bench/$what"
eval "$(bin/cluster env "$cluster")"
# Each watch is a connection's stream, and each held request a connection.
ulimit -n "$(ulimit -Hn)"
nsenter --net="$KEDAHTTP_NETNS" "bin/bench-$what" "$@"
