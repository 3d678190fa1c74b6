#!/usr/bin/env bash
# Builds Traefik, an Ingress controller and an implementation of the Gateway API, to bin/tools. It is Traefik's own main without the
# providers of DNS challenges, which are most of its dependencies by far.
set -euo pipefail
cd "$(dirname "$0")"

lego=$PWD/../../../bin/tools/lego
if ! cmp -s dns.go.txt "$lego/providers/dns/zz_gen_dns_providers.go"; then
	version=$(sed -n 's/^\tgithub.com\/go-acme\/lego\/v5 \(v[^ ]*\).*$/\1/p' go.mod)
	from=$(cd / && go mod download -json "github.com/go-acme/lego/v5@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	rm -rf "$lego"
	mkdir -p "$(dirname "$lego")"
	cp -r "$from" "$lego"
	chmod -R u+w "$lego"
	cp dns.go.txt "$lego/providers/dns/zz_gen_dns_providers.go"
fi
go build -ldflags "-s -w" -o "$lego/../traefik" github.com/traefik/traefik/v3/cmd/traefik
