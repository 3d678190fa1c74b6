#!/usr/bin/env bash
# Writes the project's images as OCI archives to bin/images, each for all of ARCHES, with what each binary is made of beside it (CycloneDX).
# Static binaries in one layer: no registry or Docker needed. The same sources make the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${TAG:-dev}
arches=${ARCHES:-amd64 arm64}
commit=$(git rev-parse HEAD)
version=${VERSION:-$(git describe --tags --always --dirty)}
created=$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)
images=$PWD/bin/images sbom=$PWD/bin/tools/cyclonedx-gomod
rm -rf "$images"
mkdir -p "$images"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go -C hack/tools build -o "$sbom" github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

for part in apiserver interceptor scaler; do
	binaries=()
	for arch in $arches; do
		binary=$work/$arch/$part
		GOARCH=$arch GOOS=linux CGO_ENABLED=0 go build -trimpath -buildvcs=false \
			-ldflags "-s -w -X github.com/kedahttp/kedahttp/apiserver/server.Version=$version" -o "$binary" "./cmd/$part"
		"$sbom" bin -json -noserial -notimestamp -version "$version" -output "$images/$part-$arch.cdx.json" "$binary"
		binaries+=(--binary "$arch=$binary")
	done
	bin/cluster image --name "kedahttp/$part:$tag" --entrypoint "/$part" "${binaries[@]}" --format oci --out "$images/$part.tar" \
		--label org.opencontainers.image.title="kedahttp $part" --label org.opencontainers.image.version="$version" \
		--label org.opencontainers.image.revision="$commit" --label org.opencontainers.image.created="$created" \
		--label org.opencontainers.image.source=https://github.com/kedahttp/kedahttp --label org.opencontainers.image.licenses=Apache-2.0
done
(cd "$images" && sha256sum ./* | sed 's#\./##' >SHA256SUMS)
