#!/usr/bin/env bash
# Writes the project's images as OCI archives to bin/images: static binaries in one layer, no registry or Docker needed.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${TAG:-dev}
mkdir -p bin/images
for part in apiserver interceptor scaler; do
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "bin/images/$part" "./cmd/$part"
	bin/cluster image --name "kedahttp/$part:$tag" --entrypoint "/$part" --binary "bin/images/$part" --format oci --out "bin/images/$part.tar"
	rm "bin/images/$part"
	echo "bin/images/$part.tar"
done
