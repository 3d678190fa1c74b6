#!/usr/bin/env bash
# Builds the images of the last commit twice, in two folders of other names, in other time zones and with other rights for new files; fails
# unless both made the same bytes, and unless labels, users and lists of parts are as they should be.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -z "$(git status --porcelain --untracked-files=no)" ] || echo 'What is not committed is not looked at.' >&2
build() {
	mkdir -p "$(dirname "$1")"
	git clone -q . "$1"
	(umask "$2" && export TZ=$3 && make -s -C "$1" images)
}
build "$work/a" 022 UTC
build "$work/elsewhere/and deeper" 077 Pacific/Auckland
cmp "$work/a/bin/images/SHA256SUMS" "$work/elsewhere/and deeper/bin/images/SHA256SUMS"
go run ./hack/imagescheck --revision "$(git rev-parse HEAD)" "$work/a/bin/images"
