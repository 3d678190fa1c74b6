#!/usr/bin/env bash
# gofmt, go vet and staticcheck over every module, and govulncheck over what is released; the checkers are pinned by hack/tools/go.mod.
set -euo pipefail
cd "$(dirname "$0")/.."

staticcheck=$PWD/bin/tools/staticcheck
go -C hack/tools build -o "$staticcheck" honnef.co/go/tools/cmd/staticcheck

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not gofmt-ed:\n%s\n' "$unformatted" >&2
	exit 1
fi
for module in . hack/cluster; do
	(
		cd "$module"
		tags=
		[ "$module" = . ] && tags=e2e,withoutkeda,long,exposed
		go vet -tags "$tags" ./...
		"$staticcheck" -tags "$tags" ./...
	)
done
go vet -tags e2e,chart,certmanager ./test/e2e
"$staticcheck" -tags e2e,chart,certmanager ./test/e2e

hack/vulnerabilities.sh ./cmd/...
