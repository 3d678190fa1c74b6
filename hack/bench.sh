#!/usr/bin/env bash
# Runs a benchmark of test/bench.
#
#	hack/bench.sh apiserver [FLAG…]
#	hack/bench.sh scaling [FLAG…]
#	hack/bench.sh proxy [FLAG…]
#	hack/bench.sh simulation [FLAG…]
#
# The API's and that of scaling run in a cluster of their own, which is removed afterwards, from inside the cluster's network
# namespace: what is measured is not a forwarder. BENCH_CLUSTER=NAME uses, and keeps, that one. The proxy's needs no cluster, but
# what it is compared with and loaded by, of Debian's packages: they are installed when they are missing. The
# simulation needs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
what=$1
shift

# need PROGRAM=PACKAGE… installs the packages of programs that are not there.
need() {
	local missing=()
	for pair in "$@"; do
		command -v "${pair%=*}" >/dev/null || missing+=("${pair#*=}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "These packages are missing: ${missing[*]}. Install them, or run this as root." >&2
		exit 1
	fi
	apt-get update -qq
	# Only their programs are wanted, not their services.
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
}

# Each watch is a connection's stream, and each held request a connection.
ulimit -n "$(ulimit -Hn)"

if [ "$what" = proxy ]; then
	PATH=$PATH:/usr/sbin
	need nginx=nginx-light haproxy=haproxy wrk=wrk h2load=nghttp2-client
	CGO_ENABLED=0 go build -o bin/bench-proxy ./test/bench/proxy
	exec bin/bench-proxy "$@"
fi

if [ "$what" = simulation ]; then
	go build -o bin/bench-simulation ./test/bench/simulation
	exec bin/bench-simulation "$@"
fi

cluster=${BENCH_CLUSTER:-}
if [ -z "$cluster" ]; then
	cluster=bench
	trap 'bin/cluster down "$cluster"' EXIT
	keda=()
	[ "$what" = scaling ] || keda=(--without-keda)
	bin/cluster up "$cluster" "${keda[@]}"
	bin/cluster install "$cluster" --repo .
fi
CGO_ENABLED=0 go build -o "bin/bench-$what" "./test/bench/$what"
eval "$(bin/cluster env "$cluster")"
nsenter --net="$KEDAHTTP_NETNS" "bin/bench-$what" "$@"
