//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// gatewayAPI puts the Gateway API into the cluster, and takes it away at the end.
func (u user) gatewayAPI() {
	u.Helper()
	o := operator(u.T)
	cmd := exec.Command("go", "-C", "../../hack/tools/traefik", "mod", "download", "-json", "sigs.k8s.io/gateway-api")
	out, err := cmd.Output()
	var module struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &module)
	}
	if err != nil {
		u.Fatalf("the Gateway API's module: %v\n%s", err, out)
	}
	crds := filepath.Join(module.Dir, "config", "crd", "standard")
	u.Cleanup(func() { o.kubectl("delete", "--ignore-not-found", "-f", crds, "--timeout=2m") })
	o.kubectl("apply", "--server-side", "-f", crds)
	o.kubectl("wait", "--for=condition=Established", "crd/httproutes.gateway.networking.k8s.io", "crd/gateways.gateway.networking.k8s.io",
		"crd/gatewayclasses.gateway.networking.k8s.io", "crd/referencegrants.gateway.networking.k8s.io", "--timeout=2m")
}

// exposedAs checks the status and the reason of the condition that speaks of what lets the app in; without one they are empty.
func (u user) exposedAs(app, want string) error {
	u.Helper()
	got := u.kubectl("get", "httpapp", app, "-o", `jsonpath={range .status.conditions[?(@.type=="Exposed")]}{.status} {.reason}{end}`)
	if got != want {
		return fmt.Errorf("Exposed is %q, not %q", got, want)
	}
	return nil
}

// What becomes of requests behind an Ingress controller and a Gateway is tried where there are some, with the tag exposed.
func TestAnAppIsGivenTheIngressThatItAsksFor(t *testing.T) {
	u := newUser(t)
	o := operator(t)
	u.deploy("shop")
	u.kubectl("http", "set", "expose", "shop", "--ingress", "--gateway=front")
	u.eventually(soon, "that there is no IngressClass is said", func() error { return u.exposedAs("shop", "False NoIngressClass") })
	u.kubectl("http", "set", "expose", "shop", "--ingress=none")
	u.eventually(soon, "that the Gateway API is missing is said", func() error { return u.exposedAs("shop", "False GatewayAPINotInstalled") })

	class := "class-" + u.namespace
	u.Cleanup(func() { o.kubectl("delete", "ingressclass", class, "--ignore-not-found") })
	o.apply(fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: %s}\nspec: {controller: example.com/none}\n", class))
	u.kubectl("http", "set", "expose", "shop", "--gateway=none", "--ingress="+class)
	u.eventually(soon, "the Ingress is made", func() error { return u.exposedAs("shop", "True IngressMade") })
	leads := func(host string) func() error {
		return func() error {
			const rules = "{.spec.ingressClassName} {range .spec.rules[*]}{.host} {.http.paths[*].path} {.http.paths[*].backend.service.name}{end}"
			return u.field("ingress/shop", rules, class+" "+host+" / kedahttp-shop")
		}
	}
	u.eventually(soon, "it leads to the interceptors", leads(u.host("shop")))
	if err := u.field("service/kedahttp-shop", "{.spec.type} {.spec.externalName}", "ExternalName kedahttp-interceptor."+systemNamespace+".svc.cluster.local"); err != nil {
		t.Error(err)
	}
	u.kubectl("http", "set", "host", "shop", u.host("moved"))
	u.eventually(soon, "it follows the app's routes", leads(u.host("moved")))
	u.kubectl("delete", "ingress", "shop")
	u.eventually(soon, "one that somebody deleted is made again", func() error {
		if got := u.kubectl("get", "ingress", "shop", "--ignore-not-found", "-o", "name"); got == "" {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	gone := func() error {
		if got := u.kubectl("get", "ingresses,services", "-l", "apps.http.keda.sh/httpapp", "-o", "name"); strings.Contains(got, "ingress") || strings.Contains(got, "kedahttp-") {
			return fmt.Errorf("there is %s", got)
		}
		return nil
	}
	u.kubectl("http", "set", "expose", "shop", "--ingress=none")
	u.eventually(soon, "nothing is left of it", gone)

	// What somebody else made stays as it is.
	u.kubectl("create", "ingress", "shop", "--class=other", "--rule=other.example.com/*=other:80")
	u.kubectl("http", "set", "expose", "shop", "--ingress="+class)
	u.eventually(soon, "another's Ingress is in the way", func() error { return u.exposedAs("shop", "False NameTaken") })
	u.kubectl("delete", "ingress", "shop")
	u.eventually(soon, "it is made when that has gone", func() error { return u.exposedAs("shop", "True IngressMade") })

	// Nobody gets more by it than they may make.
	as := []string{"--as=jane", "--as-group=editors"}
	u.kubectl("create", "rolebinding", "jane", "--clusterrole=edit", "--user=jane")
	u.may("jane", "patch", httpapps)
	if _, err := u.try("", append([]string{"http", "set", "expose", "shop", "--gateway=front"}, as...)...); err == nil || !strings.Contains(err.Error(), "may not create httproutes.gateway.networking.k8s.io") {
		t.Errorf("an editor who may not create HTTPRoutes is told: %v", err)
	}
	u.kubectl(append([]string{"http", "set", "expose", "shop", "--ingress=" + class}, as...)...)

	u.kubectl("delete", "httpapp", "shop")
	u.eventually(later, "it goes with the app", gone)
}

// What the README and the pages beside the tasks' show as objects, and as commands that make some, is taken by the API servers that it is for;
// parts of an app are tried in one. The tasks' own are applied in earnest.
func TestTheManifestsInTheDocsAreTaken(t *testing.T) {
	u := onlyUser(t) // others find that the cluster does not have the Gateway API
	u.gatewayAPI()
	u.apply(manifest("hello", container, idle))
	reader := page{user: u, dir: t.TempDir()}
	reader.environment = append(os.Environ(), "KUBECONFIG="+reader.kubeconfig())
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, name := range append(pages, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(block[1]), &object); err != nil {
				t.Errorf("%s: %v\n%s", name, err, block[1])
				continue
			}
			if spec, ok := object["spec"].(map[string]any); ok && object["kind"] == nil {
				object["apiVersion"], object["kind"], object["metadata"] = "apps.http.keda.sh/v1alpha1", "HTTPApp", map[string]any{"name": "part"}
				spec["template"] = map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "app", "image": "example.com/hello:1"}}}}
			}
			whole, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-"}
			if meta, _ := object["metadata"].(map[string]any); meta["namespace"] != nil {
				args = append(args, fmt.Sprint("--namespace=", meta["namespace"]))
			}
			if _, err := u.try(string(whole), args...); err != nil {
				t.Errorf("%s: %v\n%s", name, err, block[1])
			}
			tried++
		}
		for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)\n^```$").FindAllStringSubmatch(string(text), -1) {
			reader.run(block[1]+" --dry-run=server", "")
			tried++
		}
	}
	if tried == 0 {
		t.Error("none was found")
	}
}
