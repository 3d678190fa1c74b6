#!/usr/bin/env bash
# Writes what is released beside the images to bin/dist: the Helm chart, the manifests, the plugin for each platform, their checksums, and
# krew manifests, which krew's own checks accept and by which it installs the archive for this machine. The same sources make the same archives.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=$(git rev-parse --short=12 HEAD)
version=${VERSION:-$(git describe --tags --exact-match 2>/dev/null || echo "v0.0.0-dev.$commit")}
url=${DIST_URL:-https://github.com/kedahttp/kedahttp/releases/download/$version}
platforms=${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

dist=$PWD/bin/dist tools=$PWD/bin/tools
rm -rf "$dist"
mkdir -p "$dist" "$tools"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

go run ./plugin/reference man "$work/man"
printf '#!/bin/sh\nexec kubectl http __complete "$@"\n' >"$work/kubectl_complete-http"
chmod +x "$work/kubectl_complete-http"

for platform in $platforms; do
	os=${platform%/*} arch=${platform#*/}
	folder=$work/$os-$arch
	binary=kubectl-http
	[ "$os" = windows ] && binary=kubectl-http.exe
	mkdir "$folder"
	GOOS=$os GOARCH=$arch CGO_ENABLED=0 go build -trimpath -buildvcs=false \
		-ldflags "-s -w -X github.com/kedahttp/kedahttp/plugin.Version=$version" -o "$folder/$binary" ./cmd/kubectl-http
	cp LICENSE "$folder/"
	if [ "$os" != windows ]; then
		cp "$work/kubectl_complete-http" "$folder/"
		mkdir "$folder/man"
		cp -r "$work/man" "$folder/man/man1"
	fi
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go-w -C "$folder" -cf - . |
		gzip -n >"$dist/kubectl-http-$os-$arch.tar.gz"
	echo "bin/dist/kubectl-http-$os-$arch.tar.gz"
done

# Helm keeps when files were written, which no two checkouts agree on.
cp -rL artifacts/chart "$work/chart"
find "$work/chart" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
"$tools/helm" package "$work/chart" --version "${version#v}" --app-version "$version" --destination "$dist" >/dev/null
go run ./cmd/kubectl-http generate --domain example.com --tag "$version" >"$dist/kedahttp.yaml"
# In krew's own index the name http is taken; in an index of one's own it need not be another.
for name in http keda-http; do
	manifest=$dist/$name.yaml
	cat >"$manifest" <<END
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: $name
spec:
  version: $version
  homepage: https://github.com/kedahttp/kedahttp
  shortDescription: Apps that are scaled by their HTTP requests
  description: |
    Deploys apps that are scaled by their HTTP requests, to zero and back, shows what they are doing and why, and installs
    and examines kedahttp, which they need in the cluster.
  platforms:
END
	for platform in $platforms; do
		os=${platform%/*} arch=${platform#*/}
		archive=kubectl-http-$os-$arch.tar.gz
		suffix=
		[ "$os" = windows ] && suffix=.exe
		cat >>"$manifest" <<END
    - selector:
        matchLabels: {os: $os, arch: $arch}
      uri: $url/$archive
      sha256: $(sha256sum "$dist/$archive" | cut -d' ' -f1)
      files:
        - {from: kubectl-http$suffix, to: .}
        - {from: LICENSE, to: .}
      bin: kubectl-http$suffix
END
	done
done

# A module of its own: krew wants a client-go that nothing else does.
go -C hack/tools/krew build -o "$tools/" sigs.k8s.io/krew/cmd/{krew,validate-krew-manifest}
here=$(go env GOOS)-$(go env GOARCH)
for name in http keda-http; do
	"$tools/validate-krew-manifest" -skip-install -manifest "$dist/$name.yaml"
	KREW_ROOT=$work/krew "$tools/krew" install --manifest="$dist/$name.yaml" --archive="$dist/kubectl-http-$here.tar.gz"
	"$work/krew/bin/kubectl-${name//-/_}" --help | grep -q "kubectl $name deploy --help\|kubectl $name \[command\]"
done
# What is in them is what it says.
"$tools/helm" template kedahttp "$dist"/kedahttp-*.tgz --namespace kedahttp-system | grep "image: .*:$version\"\?$" >/dev/null
grep -q "image: .*:$version\"\?$" "$dist/kedahttp.yaml"
tar -xzOf "$dist/kubectl-http-$here.tar.gz" ./kubectl-http >"$work/kubectl-http" && chmod +x "$work/kubectl-http"
"$work/kubectl-http" version --client | grep -F "$version" >/dev/null
(cd "$dist" && sha256sum ./*.tar.gz ./*.tgz ./*.yaml | sed 's#\./##' >SHA256SUMS)
echo "bin/dist: $version"
