#!/usr/bin/env bash
# Makes all generated code again: deep copies, defaults, OpenAPI, clients, the counts' wire format; and the references of the API, the
# plugin, flags and metrics. The generators are pinned by hack/tools/go.mod.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/bin/tools
mkdir -p "$tools"
go -C hack/tools build -o "$tools/" \
	k8s.io/code-generator/cmd/{deepcopy,defaulter,applyconfiguration,client,lister,informer}-gen k8s.io/kube-openapi/cmd/openapi-gen \
	google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc github.com/bufbuild/buf/cmd/buf

apis=./apiserver/apis/apps/v1alpha1
header=hack/boilerplate.go.txt
"$tools/deepcopy-gen" --go-header-file $header --output-file zz_generated.deepcopy.go $apis ./apiserver/storage/record
"$tools/defaulter-gen" --go-header-file $header --output-file zz_generated.defaults.go $apis
# The packages beside ours are all that the HTTPApp's schema refers to, and what the generic API server serves. Each has to be said to be
# read only by its own name, or openapi-gen writes into the module cache.
others=(
	k8s.io/api/core/v1 k8s.io/api/autoscaling/v1 k8s.io/api/autoscaling/v2 k8s.io/metrics/pkg/apis/external_metrics/v1beta1
	k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/runtime
	k8s.io/apimachinery/pkg/version k8s.io/apimachinery/pkg/util/intstr
)
"$tools/openapi-gen" --go-header-file $header --output-model-name-file zz_generated.model_name.go \
	"${others[@]/#/--readonly-pkg=}" \
	--output-dir apiserver/apis/openapi --output-pkg github.com/kedahttp/kedahttp/apiserver/apis/openapi --output-file zz_generated.openapi.go \
	--report-filename /dev/null \
	$apis "${others[@]}"

# Nothing in there is written by hand.
rm -rf apiserver/client
client=github.com/kedahttp/kedahttp/apiserver/client
"$tools/applyconfiguration-gen" --go-header-file $header \
	--output-dir apiserver/client/applyconfiguration --output-pkg $client/applyconfiguration \
	--external-applyconfigurations k8s.io/api/core/v1.PodTemplateSpec:k8s.io/client-go/applyconfigurations/core/v1 \
	--external-applyconfigurations k8s.io/api/autoscaling/v2.HorizontalPodAutoscalerBehavior:k8s.io/client-go/applyconfigurations/autoscaling/v2 \
	$apis
"$tools/client-gen" --go-header-file $header --output-dir apiserver/client --output-pkg $client --clientset-name versioned \
	--apply-configuration-package $client/applyconfiguration --input-base "$PWD/apiserver/apis" --input apps/v1alpha1
# client-gen expects every apply configuration among ours; that of Scale is client-go's.
sed -i 's#"'$client'/applyconfiguration/autoscaling/v1"#"k8s.io/client-go/applyconfigurations/autoscaling/v1"#' \
	apiserver/client/versioned/typed/apps/v1alpha1/{,fake/fake_}httpapp.go
gofmt -w apiserver/client/versioned/typed/apps/v1alpha1
"$tools/lister-gen" --go-header-file $header --output-dir apiserver/client/listers --output-pkg $client/listers $apis
"$tools/informer-gen" --go-header-file $header --output-dir apiserver/client/informers --output-pkg $client/informers --single-directory \
	--versioned-clientset-package $client/versioned --listers-package $client/listers $apis

(cd interceptor/queue/wire && PATH="$tools:$PATH" buf generate)

mkdir -p docs
go run ./plugin/reference markdown docs/kubectl-http.md
go run ./docs/metrics docs/metrics.md
go run ./docs/fields docs/httpapp.md
go run ./docs/flags docs/flags.md
