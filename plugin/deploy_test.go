package plugin

import (
	"strings"
	"testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestDeploySaysWhatItWasToldAndNothingElse(t *testing.T) {
	got, err := call(t, "deploy", "hello", "--image", "example.com/hello:1", "--port", "9000", "--env", "B=2", "--env", "A=1=1",
		"--scale", "1..7", "--concurrency", "5", "--idle", "90s", "--health", "/ok", "--host", "hello.example.com", "--tls-secret", "hello-cert",
		"--dry-run=client", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	const want = `apiVersion: apps.http.keda.sh/v1alpha1
kind: HTTPApp
metadata:
  name: hello
  namespace: shop
spec:
  port: 9000
  routes:
  - hosts:
    - hello.example.com
  scaling:
    cooldown: 1m30s
    maxReplicas: 7
    metric: concurrency
    minReplicas: 1
    target: "5"
  template:
    spec:
      containers:
      - env:
        - name: B
          value: "2"
        - name: A
          value: 1=1
        image: example.com/hello:1
        name: app
        ports:
        - containerPort: 9000
          name: http
          protocol: TCP
        readinessProbe:
          httpGet:
            path: /ok
            port: 9000
          periodSeconds: 1
  tls:
    secretName: hello-cert
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDeployExposesTheHostsByAnIngressOrAGateway(t *testing.T) {
	for want, flags := range map[string][]string{
		"  expose:\n    ingress: {}\n":                                 {"--ingress"},
		"  expose:\n    ingress:\n      className: nginx\n":            {"--ingress=nginx"},
		"    ingress:\n      className: a\n      tlsSecretName: b\n":   {"--ingress=a", "--ingress-tls-secret=b"},
		"    httpRoute:\n      parentRefs:\n      - name: public\n":    {"--gateway=public"},
		"      - name: a\n        namespace: g\n      - name: b\n    ": {"--gateway=g/a", "--gateway", "g/b/web"},
		"        sectionName: web\n":                                   {"--gateway=g/b/web"},
	} {
		out, err := call(t, append([]string{"deploy", "hello", "--image", "i", "--dry-run=client", "-o", "yaml"}, flags...)...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v makes %v\n%s", flags, err, out)
		}
	}
}

func TestSetExposeTakesAwayWhatIsNotWantedAndLeavesTheRest(t *testing.T) {
	app := hello()
	app.Spec.Expose = &v1alpha1.Expose{
		Ingress:   &v1alpha1.ExposeIngress{ClassName: "nginx", Annotations: map[string]string{"a": "b"}},
		HTTPRoute: &v1alpha1.ExposeHTTPRoute{ParentRefs: []v1alpha1.GatewayReference{{Name: "public"}}},
	}
	for want, flags := range map[string][]string{
		"  expose:\n    ingress:\n      annotations:\n        a: b\n      className: other\n  port":                                       {"--ingress=other", "--gateway=none"},
		"  expose:\n    httpRoute:\n      parentRefs:\n      - name: public\n  port":                                                      {"--ingress=none"},
		"      - name: public\n    ingress:\n      annotations:\n        a: b\n      className: nginx\n      tlsSecretName: cert\n  port": {"--ingress-tls-secret=cert"},
	} {
		p := newPlugin(t, app.DeepCopy())
		if got := p.does(append([]string{"set", "expose", "hello", "--dry-run=client", "-o", "yaml"}, flags...)...); !strings.Contains(got, want) {
			t.Errorf("%v makes\n%s", flags, got)
		}
	}
	p := newPlugin(t, app)
	if got := p.does("export", "hello"); !strings.Contains(got, "  expose:\n    httpRoute:\n      parentRefs:\n      - name: public\n    ingress:\n") {
		t.Errorf("export makes\n%s", got)
	}
	if got := p.does("set", "expose", "hello", "--ingress=none", "--gateway=none", "--dry-run=client", "-o", "yaml"); strings.Contains(got, "expose") {
		t.Errorf("nothing of it makes\n%s", got)
	}
}

func TestWordsAfterTheDashesAreArgumentsOrTheCommand(t *testing.T) {
	for _, c := range []struct{ flag, want string }{
		{"--command=false", "      - args:\n        - serve\n        - --fast\n"},
		{"--command", "      - command:\n        - serve\n        - --fast\n"},
	} {
		out, err := call(t, "deploy", "hello", "--image", "i", c.flag, "--dry-run=client", "-o", "yaml", "--", "serve", "--fast")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, c.want) {
			t.Errorf("%s makes\n%s", c.flag, out)
		}
	}
}

func TestWrongUsageIsRefusedBeforeTheClusterIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no name":             {[]string{"deploy"}, "which NAME?"},
		"two names":           {[]string{"deploy", "a", "b", "--image=i"}, "too much: b"},
		"no image":            {[]string{"deploy", "a"}, "--image is needed"},
		"two sources":         {[]string{"deploy", "a", "--from=deployment/a", "-f", "a.yaml"}, "choose one"},
		"adopted and changed": {[]string{"deploy", "a", "--from=deployment/a", "--image=i"}, "--image speaks of the pods"},
		"two metrics":         {[]string{"deploy", "a", "--image=i", "--rps=1", "--concurrency=1"}, "choose one"},
		"a path without host": {[]string{"deploy", "a", "--image=i", "--path=/a"}, "--path needs --host"},
		"an empty class":      {[]string{"deploy", "a", "--image=i", "--ingress="}, "--ingress=CLASS"},
		"a wrong Gateway":     {[]string{"deploy", "a", "--image=i", "--gateway=a/b/c/d"}, "NAMESPACE/NAME"},
		"a Gateway and none":  {[]string{"deploy", "a", "--image=i", "--gateway=a,none"}, "contradict"},
		"a lone certificate":  {[]string{"deploy", "a", "--image=i", "--ingress-tls-secret=a"}, "needs --ingress"},
		"nothing to expose":   {[]string{"set", "expose", "a"}, "say --ingress"},
		"a wrong quantity":    {[]string{"deploy", "a", "--image=i", "--cpu=much"}, "250m"},
		"a wrong source":      {[]string{"deploy", "a", "--image=i", "--env-from=a"}, "configmap/NAME"},
		"a wrong dry run":     {[]string{"deploy", "a", "--image=i", "--dry-run=maybe"}, "dry-run"},
		"a wrong output":      {[]string{"deploy", "a", "--image=i", "-o", "xml"}, "xml"},
		"no replicas":         {[]string{"scale", "a"}, "REPLICAS"},
		"wrong replicas":      {[]string{"scale", "a", "few"}, "no number of replicas"},
		"both replicas":       {[]string{"scale", "a", "1", "--min=1"}, "one at a time"},
		"a namespaced name":   {[]string{"status", "shop/a"}, "--namespace"},
		"nothing to set":      {[]string{"set", "env", "a"}, "which VARIABLE=VALUE?"},
		"what cannot be set":  {[]string{"set", "colour", "a", "red"}, "cannot set colour"},
		"a wrong variable":    {[]string{"set", "env", "a", "B"}, "neither NAME=VALUE nor NAME-"},
		"no revision":         {[]string{"rollback", "a", "b"}, `"b" is no revision`},
		"no app to delete":    {[]string{"delete"}, "which app?"},
		"nothing to export":   {[]string{"export"}, "say which apps"},
		"a name with capital": {[]string{"deploy", "A", "--image=i"}, `"A" does not fit into a host name`},
		"a name too long":     {[]string{"deploy", strings.Repeat("a", 64), "--image=i"}, "63"},
		"min over max":        {[]string{"deploy", "a", "--image=i", "--scale=3..2"}, "the fewest replicas are more than the most"},
		"no range":            {[]string{"deploy", "a", "--image=i", "--scale=3"}, "MIN..MAX"},
		"max of zero":         {[]string{"deploy", "a", "--image=i", "--scale=0..0"}, "at least 1"},
		"a wrong port":        {[]string{"deploy", "a", "--image=i", "--port=70000"}, "65535"},
		"a wrong policy":      {[]string{"deploy", "a", "--image=i", "--image-pull-policy=Sometimes"}, "Never"},
		"a nameless variable": {[]string{"deploy", "a", "--image=i", "--env==1"}, "NAME=VALUE"},
		"no concurrency":      {[]string{"deploy", "a", "--image=i", "--concurrency=0"}, "at least 1"},
		"a relative path":     {[]string{"deploy", "a", "--image=i", "--health=ok"}, "begins with /"},
		"an unknown flag":     {[]string{"deploy", "a", "--picture=i"}, "unknown flag"},
		"an unknown command":  {[]string{"launch"}, "no command launch"},
		"a command mistyped":  {[]string{"statsu"}, "did you mean status?"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call(t, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, without %q", err, c.want)
			}
			if got := ExitCode(err); got != ExitUsage {
				t.Errorf("the exit code is %d, not %d", got, ExitUsage)
			}
		})
	}
}
