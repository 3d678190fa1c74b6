//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// said runs kubectl and returns all that it said, on stdout and then on stderr, and how it ended.
func (u user) said(stdin string, args ...string) string {
	u.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), later)
	defer cancel()
	cmd := u.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := 0
	if err := cmd.Run(); err != nil {
		if code = exitCode(err); code < 0 {
			u.Fatal(err)
		}
	}
	return fmt.Sprintf("%s%sexit %d\n", stdout.String(), stderr.String(), code)
}

// twin is one of two kinds of object that the same commands are tried on.
type twin struct {
	user
	// resource, kind and version are how kubectl's users name it.
	resource, kind, version string
	// spec are the lines that go before the pod template.
	spec string
	// own are the words that it does not share with the other twin, each followed by the one for both.
	own []string
}

func twins(t *testing.T) (deployments, apps twin) {
	u := newUser(t)
	deployments = twin{u, "deployment", "Deployment", "apps/v1", "  selector: {matchLabels: {app: one}}\n  replicas: 0\n", []string{
		"/registry/deployments", "/RESOURCES", `group "apps"`, `group "GROUP"`, "GROUP:      apps\n", "", "VERSION:    v1\n", "",
		"type v1.", "type ", "kube-controller-manager", "CONTROLLER", "*apps.Deployment", "*KIND", "Deployment.apps", "KIND", "deployments.apps", "RESOURCES", "deployment.apps", "RESOURCE", "deployments", "RESOURCES", "deployment", "RESOURCE", "Deployment", "KIND",
		", application/vnd.kubernetes.protobuf", "", "apps/v1", "VERSION", `version "v1"`, `version "VERSION"`,
	}}
	apps = twin{u.another(), "httpapp", "HTTPApp", "apps.http.keda.sh/v1alpha1", "  scaling: {autoscaler: None}\n", []string{
		`, "spec.scaling.autoscaler", "spec.serviceName", "spec.workloadRef.name", "status.ready"`, "",
		"/httpapps/", "/RESOURCES/", `group "apps.http.keda.sh"`, `group "GROUP"`, "GROUP:      apps.http.keda.sh\n", "", "VERSION:    v1alpha1\n", "",
		"type v1alpha1.", "type ", "kedahttp/", "CONTROLLER/", "*v1alpha1.HTTPApp", "*KIND", "HTTPApp.apps.http.keda.sh", "KIND", "httpapps.apps.http.keda.sh", "RESOURCES", "httpapp.apps.http.keda.sh", "RESOURCE", "httpapps", "RESOURCES", "httpapp", "RESOURCE", "HTTPApp", "KIND",
		"apps.http.keda.sh/v1alpha1", "VERSION", `version "v1alpha1"`, `version "VERSION"`,
	}}
	return deployments, apps
}

// changing are words that no two runs have in common, and values that are whole objects.
var changing = regexp.MustCompile(`Invalid value: "\{(\\.|[^"\\])*"|current: \d+|in record \(\d+\)|was \d+|resourceVersion: "\d+"|\b\d+(\.\d+)?m?s\b|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|/tmp/\S+`)

// do runs a command, in which RESOURCE, KIND and VERSION stand for the twin's own words, and returns what kubectl said in words
// for both.
func (w twin) do(stdin string, args ...string) string {
	w.Helper()
	write := strings.NewReplacer("RESOURCE", w.resource, "KIND", w.kind, "VERSION", w.version, "SPEC\n", w.spec, "NAMESPACE", w.namespace)
	said := make([]string, len(args))
	for i, arg := range args {
		said[i] = write.Replace(arg)
	}
	out := w.said(write.Replace(stdin), said...)
	read := strings.NewReplacer(append([]string{w.namespace, "NAMESPACE"}, w.own...)...)
	return changing.ReplaceAllString(read.Replace(out), "…")
}

// one is a manifest of either twin.
func one(name, image string, more ...string) string {
	return `apiVersion: VERSION
kind: KIND
metadata:
  name: ` + name + `
  labels: {tier: web, app: one}
` + strings.Join(more, "") + `spec:
SPEC
  template:
    metadata: {labels: {app: one}}
    spec:
      containers:
      - name: app
        image: ` + image + `
        ports: [{containerPort: 8080}]
`
}

// Whoever knows kubectl cannot tell an HTTPApp from a Deployment.
func TestKubectlSaysTheSameOfAnAppAsOfADeployment(t *testing.T) {
	deployments, apps := twins(t)
	deployments.editor, apps.editor = "sed -i 's/tier: web/tier: front/'", "sed -i 's/tier: web/tier: front/'"
	const conflicting = `{"metadata":{"resourceVersion":"1","labels":{"late":"yes"}}}`
	for _, step := range []struct {
		stdin string
		args  string
	}{
		// Before there is one.
		{"", "get RESOURCE one"},
		{"", "get RESOURCE one --ignore-not-found"},
		{"", "get RESOURCE"},
		{"", "delete RESOURCE one"},
		{"", "label RESOURCE one a=b"},
		{"", "scale RESOURCE one --replicas=1"},
		{"", "wait RESOURCE/one --for=delete"},
		{one("one", "a"), "replace -f -"},
		{one("one", "a"), "diff -f - --server-side=false -o nonsense"},

		// Create.
		{one("one", "a"), "create -f - --dry-run=server"},
		{one("one", "a"), "create -f - --dry-run=client"},
		{one("one", "a"), "apply -f - --dry-run=server"},
		{one("one", "a"), "apply --server-side -f - --dry-run=server"},
		{"", "get RESOURCE one -o name"},
		{one("one", "a"), "create -f - -n there-is-none"},
		{one("one", "a", "  namespace: another\n"), "create -f -"},
		{one("one", "a", "  nonsense: 1\n"), "create -f -"},
		{one("one", "a", "  nonsense: 1\n"), "create -f - --validate=strict"},
		{one("one", "a", "  nonsense: 1\n"), "create -f - --validate=warn --dry-run=server"},
		{one("one", "a", "  nonsense: 1\n"), "create -f - --validate=ignore --dry-run=server"},
		{one("one", "a") + "  nonsense: 1\n  moreNonsense: 1\n", "apply -f -"},
		{one("one", "a") + "  nonsense: 1\n", "apply -f - --validate=warn --dry-run=server"},
		{one("one", "a") + "  nonsense: 1\n", "apply -f - --server-side --dry-run=server"},
		{one("one", "a") + "  nonsense: 1\n", "apply -f - --server-side --validate=warn --dry-run=server"},
		{one("one", "a", "  name: two\n"), "create -f -"},
		{one("one", "a", "  name: two\n"), "create -f - --validate=warn --dry-run=server"},
		{strings.Replace(one("one", "a"), "labels: {app: one}}", "labels: 5}", 1), "create -f - --validate=ignore"},
		{strings.Replace(one("one", "a"), "containerPort: 8080", "containerPort: many", 1), "create -f -"},
		{strings.Replace(one("one", "a"), "tier: web", "tier: 'not a label!'", 1), "create -f -"},
		{strings.Replace(one("one", "a"), "  name: one", "  generateName: one-", 1), "create -f - --dry-run=client"},
		{strings.Replace(one("one", "a"), "VERSION", "VERSIONbeta7", 1), "create -f -"},
		{one("one", "a"), "create -f - --save-config"},
		{one("one", "a"), "create -f -"},
		{"", "wait RESOURCE/one --for=jsonpath={.status.observedGeneration}=1"},
		{"", "wait RESOURCE/one --for=create"},
		{"", "get RESOURCE one -o jsonpath={.metadata.generation}{.metadata.labels.tier}"},

		// Apply and diff.
		{one("one", "a"), "apply -f -"},
		{one("one", "a"), "diff -f -"},
		{one("one", "b"), "apply -f - --dry-run=server"},
		{one("one", "b"), "apply -f -"},
		{one("one", "b"), "apply -f -"},
		{one("one", "c"), "apply --server-side --field-manager=another -f -"},
		{one("one", "c"), "apply --server-side --field-manager=another -f - --dry-run=server --force-conflicts"},
		{one("one", "c"), "apply --server-side --field-manager=another -f - --force-conflicts"},
		{one("one", "d"), "apply --server-side --field-manager=third -f -"},
		{one("one", "c"), "apply --server-side --field-manager=third -f -"},
		{"", "apply view-last-applied RESOURCE/one -o jsonpath={.spec.template.spec.containers[0].image}"},
		{"", "get RESOURCE one -o jsonpath={.spec.template.spec.containers[0].image}"},
		{"", `get RESOURCE one --show-managed-fields -o jsonpath={range.metadata.managedFields[*]}{.manager}/{.operation}/{.apiVersion}/{.subresource}{"\n"}{end}`},

		// Patch.
		{"", `patch RESOURCE one --type=merge -p {"metadata":{"labels":{"m":"1"}}}`},
		{"", `patch RESOURCE one --type=merge -p {"metadata":{"labels":{"m":"1"}}}`},
		{"", `patch RESOURCE one --type=merge -p {"metadata":{"labels":{"m":"2"}}} --dry-run=server`},
		{"", `patch RESOURCE one --type=merge -p {"spec":{"nonsense":1}}`},
		{"", `patch RESOURCE one --type=merge -p ` + conflicting},
		{"", `patch RESOURCE one --type=strategic -p ` + conflicting},
		{"", `patch RESOURCE one --type=merge -p {"spec":5}`},
		{"", `patch RESOURCE one --type=merge -p {"spec":`},
		{"", `patch RESOURCE one --type=merge -p {"metadata":{"name":"other"}}`},
		{"", `patch RESOURCE one --type=merge -p {"metadata":{"uid":"other"}}`},
		{"", `patch RESOURCE one --type=json -p [{"op":"add","path":"/metadata/labels/j","value":"1"}]`},
		{"", `patch RESOURCE one --type=json -p [{"op":"test","path":"/metadata/labels/j","value":"2"}]`},
		{"", `patch RESOURCE one --type=json -p [{"op":"remove","path":"/metadata/labels/nonsense"}]`},
		{"", `patch RESOURCE one --type=json -p {"op":"remove"}`},
		{"", `patch RESOURCE one -p {"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}`},
		{"", `patch RESOURCE one -p {"spec":{"template":{"spec":{"containers":[{"name":"app","image":"e"}]}}}}`},
		{"", `patch RESOURCE one -p {"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}`},
		{"", `patch RESOURCE one -p {"spec":{"nonsense":1}}`},
		{"", `get RESOURCE one -o jsonpath={.spec.template.spec.containers[*].name},{.spec.template.spec.containers[*].image},{.metadata.labels}`},
		{"", `patch RESOURCE two --type=merge -p {"metadata":{"labels":{"m":"1"}}}`},

		// Label, annotate, edit.
		{"", "label RESOURCE one m=1"},
		{"", "label RESOURCE one m=2"},
		{"", "label RESOURCE one m=2 --overwrite"},
		{"", "label RESOURCE one m- --dry-run=server"},
		{"", "label RESOURCE one m-"},
		{"", "label RESOURCE one m-"},
		{"", "label RESOURCE one late=yes --resource-version=1"},
		{"", "label RESOURCE --all all=yes"},
		{"", "annotate RESOURCE one a=b"},
		{"", "annotate RESOURCE one a=c"},
		{"", "annotate RESOURCE one a=c --overwrite"},
		{"", "annotate RESOURCE one a-"},
		{"", "edit RESOURCE one"},
		{"", "edit RESOURCE one"},
		{"", "get RESOURCE one --show-labels --no-headers -o custom-columns=NAME:.metadata.name,TIER:.metadata.labels.tier"},

		// Replace.
		{one("one", "f"), "replace -f -"},
		{one("one", "f", "  resourceVersion: '1'\n"), "replace -f -"},
		{one("one", "f", "  uid: nonsense\n"), "replace -f -"},
		{one("one", "f") + "  nonsense: 1\n", "replace -f -"},
		{one("one", "f") + "  nonsense: 1\n", "replace -f - --validate=warn"},
		{one("one", "g"), "replace -f - --dry-run=server"},
		{"", "get RESOURCE one -o jsonpath={.spec.template.spec.containers[0].image}"},
		{one("one", "h"), "replace --force -f -"},

		// Get.
		{one("two", "a"), "create -f -"},
		{"", "get RESOURCE -o name"},
		{"", "get RESOURCE/one RESOURCE/two -o name"},
		{"", "get RESOURCE -o name --sort-by=.metadata.name"},
		{"", "get RESOURCE -o name --sort-by=.metadata.nonsense"},
		{"", "get RESOURCE -l tier=web,app=one -o name"},
		{"", "get RESOURCE -l tier!=web -o name"},
		{"", "get RESOURCE -l tier=,=web"},
		{"", "get RESOURCE --field-selector=metadata.name=two -o name"},
		{"", "get RESOURCE --field-selector=metadata.name!=two,metadata.namespace=NAMESPACE -o name"},
		{"", "get RESOURCE --field-selector=metadata.namespace=nonsense -o name"},
		{"", "get RESOURCE --field-selector=spec.nonsense=1"},
		{"", "get RESOURCE --field-selector=nonsense"},
		{"", "get RESOURCE --chunk-size=1 -o name"},
		{"", "get RESOURCE one -o jsonpath={.kind}/{.apiVersion}/{.metadata.name}"},
		{"", "get RESOURCE -o jsonpath={.kind}/{.apiVersion}/{.items[*].kind}/{.items[*].metadata.name}"},
		{"", "get RESOURCE -o go-template={{range.items}}{{.metadata.name}};{{end}}"},
		{"", "get RESOURCE -o custom-columns=KIND:.kind,NAME:.metadata.name,IMAGE:.spec.template.spec.containers[0].image"},
		{"", "get RESOURCE -o nonsense"},
		{"", "get RESOURCE.v7.nonsense"},
		{"", "get RESOURCE one --subresource=nonsense"},
		{"", "get RESOURCE one --subresource=status -o jsonpath={.kind}/{.metadata.name}"},
		{"", "get RESOURCE one --subresource=scale -o jsonpath={.kind}/{.apiVersion}/{.metadata.name}/{.spec.replicas}"},
		{"", "auth can-i list RESOURCE"},
		{"", "auth can-i create RESOURCE --as=nobody"},
		{"", "get RESOURCE --as=nobody"},
		{"", "get RESOURCE one --as=nobody"},
		{one("three", "a"), "create -f - --as=nobody"},
		{one("one", "a"), "apply -f - --as=nobody"},
		{"", "explain RESOURCE.spec.nonsense"},
		{"", "wait RESOURCE/one --for=condition=Nonsense --timeout=2s"},
		{"", "wait RESOURCE/one --for=jsonpath={.metadata.name}=one"},
		{"", "wait RESOURCE --all --for=jsonpath={.metadata.labels.tier}=web"},

		// Scale.
		{"", "wait RESOURCE/one RESOURCE/two --for=jsonpath={.status.observedGeneration}=1"},
		{"", "scale RESOURCE one --current-replicas=3 --replicas=2"},
		{"", "scale RESOURCE one --current-replicas=0 --replicas=0"},
		{"", "scale RESOURCE/one RESOURCE/two --replicas=0 --dry-run=server"},
		{"", "scale RESOURCE one --replicas=0 --resource-version=1"},
		{"", "scale RESOURCE --all --replicas=0"},
		{"", "autoscale RESOURCE one --min=1 --max=3 --cpu=50% --dry-run=client"},
		{"", "patch RESOURCE one --subresource=scale --type=merge -p {\"spec\":{\"replicas\":-1}}"},
		{"", `patch RESOURCE one --subresource=status --type=merge -p {"metadata":{"labels":{"m":"1"}},"spec":{"template":{}}}`},

		// Delete.
		{"", "delete RESOURCE one --dry-run=server"},
		{"", "delete RESOURCE one --dry-run=client"},
		{"", "delete RESOURCE -l tier=nonsense"},
		{"", "delete RESOURCE -l tier=web --field-selector=metadata.name=one"},
		{one("one", "a"), "create -f -"},
		{"", "delete RESOURCE/one RESOURCE/three"},
		{one("one", "a"), "create -f -"},
		{one("one", "a"), "delete -f - -o name"},
		{one("one", "a"), "delete -f - --ignore-not-found"},
		{one("one", "a"), "create -f -"},
		{"", "delete RESOURCE --all --cascade=foreground"},
		{"", "get RESOURCE"},
	} {
		args := strings.Fields(step.args)
		var deployment, app string
		var both sync.WaitGroup
		both.Go(func() { deployment = deployments.do(step.stdin, args...) })
		both.Go(func() { app = apps.do(step.stdin, args...) })
		both.Wait()
		if deployment != app {
			t.Errorf("kubectl %s\nof a Deployment:\n%s\nof an HTTPApp:\n%s", step.args, deployment, app)
		}
	}
}
