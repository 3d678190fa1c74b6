#!/usr/bin/env bash
# Runs every fuzz target for its share of the seconds given (default: 48). What is found is in testdata/fuzz of the target's package then,
# for go test to try again for ever; what only reached new code is in Go's cache, and where the next run begins.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t targets < <(git grep -o --untracked '^func Fuzz[A-Za-z0-9]*' -- '*_test.go')
seconds=$((${1:-48} / ${#targets[@]}))
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for target in "${targets[@]}"; do
	package=./$(dirname "${target%%:*}") name=${target##* }
	echo "$package $name for $seconds s"
	if go test -run '^$' -fuzz "^$name\$" -fuzztime "${seconds}s" "$package" >"$out" 2>&1; then
		tail -1 "$out"
	elif grep -q 'Failing input written to' "$out" || ! grep -q 'context deadline exceeded' "$out"; then
		cat "$out" >&2
		exit 1
	else
		# Go takes the end of the time for a failure when it comes while an input is being tried (golang.org/issue/75804).
		echo "nothing was found until the time was over"
	fi
done
