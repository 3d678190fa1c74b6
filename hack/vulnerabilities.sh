#!/usr/bin/env bash
# Fails when code that is called has a vulnerability that Go's database (or that of GOVULNDB) knows; others are told. Without the
# database, which not every machine reaches, it says loudly that nothing was looked for and passes: whoever has no network is to be able to lint.
# Where the database is to be there, before a release, say, VULNERABILITIES=required fails instead.
set -euo pipefail
cd "$(dirname "$0")/.."

govulncheck=$PWD/bin/tools/govulncheck
database=${GOVULNDB:-https://vuln.go.dev}
go -C hack/tools build -o "$govulncheck" golang.org/x/vuln/cmd/govulncheck

# It tells when the database was updated only if it can read it.
if ! version=$("$govulncheck" -db "$database" -version 2>&1) || ! grep -q '^DB updated' <<<"$version"; then
	cat >&2 <<END

*** NOT CHECKED FOR KNOWN VULNERABILITIES ***
The database cannot be reached: $database. GOVULNDB names a mirror, a file:// URL of a copy, too.

END
	[ "${VULNERABILITIES:-}" != required ]
	exit
fi
"$govulncheck" -db "$database" "$@"
