//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// within runs a command of the plugin with variables of the environment, and returns what it printed on stdout and on stderr.
func (u user) within(environment []string, args ...string) (stdout, stderr string) {
	u.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), later)
	defer cancel()
	cmd := u.command(ctx, append([]string{"http"}, args...)...)
	cmd.Env = append(os.Environ(), environment...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		u.Fatalf("kubectl http %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errOut)
	}
	return out.String(), errOut.String()
}

// rows are the first words of the lines below a table's head.
func rows(table string) (first []string) {
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		if words := strings.Fields(line); i > 0 && len(words) > 0 {
			first = append(first, words[0])
		}
	}
	return first
}

// ran are the command lines of the plugin that tests have run.
var ran struct {
	sync.Mutex
	lines []string
}

// note keeps what a command line of the plugin asks for.
func note(args []string) {
	ran.Lock()
	defer ran.Unlock()
	ran.lines = append(ran.lines, strings.Join(args, " ")+" ")
}

// aloneRun are the commands that only tests run that run alone.
var aloneRun = []string{"install", "uninstall", "upgrade"}

// notRun are the commands of the plugin that no test has run, of those that are run. Which there are is said by the reference, which is
// made of them.
func notRun() (missing []string, err error) {
	reference, err := os.ReadFile("../../docs/kubectl-http.md")
	if err != nil {
		return nil, err
	}
	ran.Lock()
	defer ran.Unlock()
	for _, command := range regexp.MustCompile(`(?m)^## kubectl http (.+)$`).FindAllStringSubmatch(string(reference), -1) {
		group := strings.Contains(string(reference), "\n## kubectl http "+command[1]+" ")
		if alone := slices.Contains(aloneRun, command[1]); environment.only == "alone" && !alone || environment.only == "beside" && alone {
			continue
		}
		if !group && !slices.ContainsFunc(ran.lines, func(line string) bool { return strings.HasPrefix(line, command[1]+" ") }) {
			missing = append(missing, command[1])
		}
	}
	return missing, nil
}

func TestOneThingOfAnAppIsSetAndTheOthersStay(t *testing.T) {
	u := newUser(t)
	u.plugin("deploy", "thing", "--image", "example.com/thing:1", "--image-pull-policy", "Never", "--no-wait")
	container, ports := ".spec.template.spec.containers[0]", "{.spec.port} {.spec.template.spec.containers[0].ports[0].containerPort}"
	for _, set := range []struct{ args, field, want string }{
		{"image thing kedahttp/test-echo:dev", "{" + container + ".image}", "kedahttp/test-echo:dev"},
		{"port thing 9090", ports, "9090 9090"},
		{"env thing PORT=9090", "{" + container + ".env[0].value}", "9090"},
		{"health thing /healthz", "{" + container + ".readinessProbe.httpGet.path}", "/healthz"},
		{"resources thing --cpu 50m --memory 32Mi", "{" + container + ".resources.requests.cpu} {" + container + ".resources.limits.memory}", "50m 32Mi"},
		{"timeout thing 30s", "{.spec.timeouts.request}", "30s"},
	} {
		u.says(u.plugin(append([]string{"set"}, strings.Fields(set.args)...)...), "httpapp.apps.http.keda.sh/thing changed")
		if err := u.field("httpapp/thing", set.field, set.want); err != nil {
			t.Errorf("set %s: %v", set.args, err)
		}
	}
	u.routed("thing")
	if _, err := u.get("thing", "/"); err != nil {
		t.Errorf("the app that was set: %v", err)
	}
	u.says(u.plugin("options"), "--context", "--kubeconfig")
}

func TestAnAppIsOpenedInTheBrowser(t *testing.T) {
	u := newUser(t)
	u.deploy("seen", "--no-wait")
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\necho \"$@\" > "+asked+".new && mv "+asked+".new "+asked+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	url, _ := u.within([]string{"PATH=" + dir + ":" + os.Getenv("PATH")}, "open", "seen")
	if url != u.plugin("url", "seen") {
		t.Errorf("it says %q", url)
	}
	u.eventually(soon, "the browser opened", func() error {
		got, err := os.ReadFile(asked)
		if err == nil && string(got) != url {
			err = fmt.Errorf("it is to show %q, not %q", got, url)
		}
		return err
	})
	u.says(u.fails(1, "open", "none"), "there is no app none in namespace "+u.namespace)
}

// What is generated without a cluster is what a cluster takes.
func TestWhatIsGeneratedCanBeApplied(t *testing.T) {
	u := newUser(t)
	manifests := u.plugin("generate", "--domain", "apps.test")
	u.says(manifests, "--domain=apps.test")
	out, err := user{T: t}.try(manifests, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	u.says(out, "deployment.apps/kedahttp-apiserver serverside-applied (server dry run)", "apiservice.apiregistration.k8s.io/v1alpha1.apps.http.keda.sh serverside-applied")
}

func TestAnAppIsHeldAwakeAndAsleepForAWhile(t *testing.T) {
	u := newUser(t)
	u.deploy("held", "--scale", "0..3", "--idle", "1s")
	scaling := func(want string) {
		t.Helper()
		u.eventually(soon, "scaling of "+want, func() error {
			return u.field("httpapp/held", "{.spec.scaling.minReplicas} {.spec.scaling.paused}", want)
		})
	}

	wake := u.goesOn("wake", "held", "--for", "10m")
	u.eventually(soon, "it held", func() error { return wake.has("held woken", "held until", "Ctrl-C lets it go") })
	scaling("1 ")
	status := func(parts ...string) {
		t.Helper()
		u.eventually(soon, "its status", func() error {
			out := u.plugin("status", "held")
			for _, part := range parts {
				if !strings.Contains(out, part) {
					return fmt.Errorf("it does not say %q:\n%s", part, out)
				}
			}
			return nil
		})
	}
	status("serving", "by wake, until")
	if code := wake.interrupt(); code != 0 {
		t.Errorf("interrupted it ends with %d:\n%s", code, wake.all())
	}
	u.says(wake.all(), "let go")
	scaling("0 ")
	u.eventually(soon, "it asleep without requests", func() error { return u.field("deployment/held", "{.spec.replicas}", "0") })

	sleep := u.goesOn("sleep", "held", "--for", "10m")
	u.eventually(soon, "it held", func() error { return sleep.has("held asleep", "held until") })
	status("paused", "by sleep, until")
	u.says(u.fails(28, "curl", "held", "--", "--max-time", "1"), "the app is paused", "kubectl http status -n "+u.namespace+" held")
	if err := u.field("deployment/held", "{.spec.replicas}", "0"); err != nil {
		t.Error(err)
	}
	// Who is killed lets nothing go.
	sleep.kill()
	u.says(u.plugin("status", "held"), "by sleep, until")
	u.plugin("resume", "held")
	scaling("0 ")
	if out := u.plugin("status", "held"); strings.Contains(out, "by sleep") {
		t.Errorf("it is still held:\n%s", out)
	}

	stdout, stderr := u.within(nil, "sleep", "held", "--for", "1s")
	u.says(stdout, "held asleep")
	u.says(stderr, "held until", "let go")
	scaling("0 ")
	u.says(u.fails(2, "wake", "held", "--for", "2"), "--for")
}

func TestLogsAreThoseThatWereAskedFor(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("two", container+`
      - {name: side, image: "kedahttp/test-echo:dev", imagePullPolicy: Never, env: [{name: PORT, value: "9090"}]}`))
	u.deploy("crashing", "--no-wait", "--env", "LISTEN_AFTER=never")
	u.plugin("wake", "crashing", "--no-wait")
	u.plugin("wake", "two")

	logs := func(args ...string) string { return u.plugin(append([]string{"logs", "two"}, args...)...) }
	of := func(what, text string, there, absent []string) {
		t.Helper()
		u.says(text, there...)
		for _, part := range absent {
			if strings.Contains(text, part) {
				t.Errorf("%s say %q:\n%s", what, part, text)
			}
		}
	}
	app, side := []string{"answers on :8080"}, []string{"answers on :9090"}
	u.eventually(soon, "the logs of both", func() error { // they run before they have written anything
		if all := logs("--all"); strings.Count(all, "[two-") != 2 || !strings.Contains(all, app[0]) || !strings.Contains(all, "/side] ") {
			return fmt.Errorf("they are\n%s", all)
		}
		return nil
	})
	of("the first container's logs", logs(), app, append(side, "["))
	of("the side's logs", logs("-c", "side"), side, app)
	of("the last none of the lines", logs("--tail", "0"), nil, []string{"answers"})
	of("the last one of the lines", logs("--tail", "1", "--since", "1h"), app, nil)
	u.eventually(soon, "nothing written in the last second", func() error {
		if out := logs("--since", "1s"); out != "" {
			return fmt.Errorf("there is %s", out)
		}
		return nil
	})
	if out := logs("--timestamps"); !strings.HasPrefix(out, "20") {
		t.Errorf("with times they are %s", out)
	}
	u.says(u.fails(1, "logs", "two", "-c", "none"), "no container none", "app, side")
	u.says(u.fails(1, "logs", "two", "--previous"), "None of its containers has crashed", "kubectl http logs -n "+u.namespace+" two")
	u.eventually(later, "what was written before the last crash", func() error {
		out, err := u.try("", "http", "logs", "crashing", "--previous")
		if err == nil && !strings.Contains(out, `time: invalid duration "never"`) {
			err = fmt.Errorf("it is %q", out)
		}
		return err
	})
}

func TestTheListIsOfWhatWasAskedFor(t *testing.T) {
	u := newUser(t)
	other := u.another()
	for _, app := range []string{"b", "a", "c"} {
		u.deploy(app, "--no-wait", "--scale", map[string]string{"a": "0..9", "b": "0..5", "c": "0..7"}[app])
	}
	other.deploy("elsewhere", "--no-wait")
	u.kubectl("label", "httpapp", "a", "c", "team=web")
	is := func(want string, args ...string) {
		t.Helper()
		if got := strings.Join(rows(u.plugin(append([]string{"list"}, args...)...)), " "); got != want {
			t.Errorf("list %v is of %s, not %s", args, got, want)
		}
	}
	is("a b c")
	is("b c a", "--sort-by", ".spec.scaling.maxReplicas")
	is("a c", "-l", "team=web")
	is("b", "-l", "team!=web")
	is("c", "c")
	all := u.plugin("list", "-A")
	u.says(all, "NAMESPACE", u.namespace, other.namespace, "elsewhere")

	watch := u.goesOn("list", "-w")
	u.eventually(soon, "the apps", func() error { return watch.has("NAME", "a ", "b ", "c ") })
	u.plugin("delete", "c")
	u.plugin("deploy", "d", "--image", "example.com/d:1", "--no-wait")
	u.eventually(soon, "what is new", func() error {
		if watch.first("d ") == "" {
			return watch.has("d  ")
		}
		return nil
	})
}

func TestALoadIsWhatWasAskedFor(t *testing.T) {
	u := newUser(t)
	u.deploy("loaded", "--scale", "1..2")
	u.plugin("wake", "loaded")
	type report struct {
		Requests int64
		Statuses map[string]int64
	}
	load := func(args ...string) (r report) {
		t.Helper()
		out := u.plugin(append([]string{"load", "loaded", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if r.Requests != r.Statuses["200"] {
			t.Errorf("load %v: %+v", args, r)
		}
		return r
	}
	// Of 20 a second none comes too soon: the first is due at once.
	if r := load("-z", "1s", "--rate", "20"); r.Requests < 1 || r.Requests > 20 {
		t.Errorf("of 20 requests a second for a second it sent %d", r.Requests)
	}
	if r := load("-z", "1s", "-c", "2"); r.Requests < 2 {
		t.Errorf("two callers sent %d requests in a second", r.Requests)
	}
	if r := load("--requests", "7", "-c", "3"); r.Requests != 7 {
		t.Errorf("it sent %d requests, not 7", r.Requests)
	}
	u.says(u.fails(2, "load", "loaded", "--cold", "--rate", "3"), "--cold takes --requests")
	u.says(u.fails(2, "load", "loaded", "-z", "31m"), "goes up to 30m")
}

// Who asks an app that cannot answer hears from the app why, and what to type next.
func TestAnAppThatDoesNotAnswerIsToldWhy(t *testing.T) {
	u := newUser(t)
	u.deploy("owner", "--no-wait")
	u.plugin("deploy", "squatter", "--image", "example.com/squatter:1", "--no-wait", "--host", u.host("owner"))
	u.plugin("deploy", "absent", "--image", "kedahttp/there-is-none:dev", "--image-pull-policy", "Never", "--no-wait")
	u.eventually(soon, "why the app does not answer", func() error {
		out := u.said("", "http", "curl", "absent")
		if !strings.Contains(out, "# the app is failing: ErrImageNeverPull") || !strings.Contains(out, "kubectl http status -n "+u.namespace+" absent") || strings.Contains(out, "warm") {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})
	u.eventually(soon, "whose host it is", func() error {
		out := u.said("", "http", "curl", "squatter")
		if !strings.Contains(out, "belongs to the older app "+u.namespace+"/owner") || !strings.Contains(out, "set host -n "+u.namespace+" squatter HOST") {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})
	// Its workload is another's, who takes it away.
	u.kubectl("create", "deployment", "lent", "--image=kedahttp/test-echo:dev", "--port=8080", "--replicas=0")
	u.plugin("deploy", "lent", "--from", "deployment/lent", "--no-wait")
	u.kubectl("delete", "deployment", "lent")
	for _, command := range []string{"history", "restart", "logs", "wake"} {
		u.says(u.fails(1, command, "lent"), "the Deployment lent that app lent adopted is gone", "kubectl http delete -n "+u.namespace+" lent")
	}
	u.says(u.plugin("set", "image", "absent", "kedahttp/there-is-none:dev"), "absent unchanged")
}

// escape begins what a terminal takes as an order.
const escape = "\x1b["

func TestColorsAreForThoseWhoWantThem(t *testing.T) {
	u := newUser(t)
	u.deploy("colored", "--no-wait")
	term := u.newTerminal("PS1='$ '", "sh", "-i")
	for _, c := range []struct {
		command string
		colored bool
	}{
		{"kubectl http top", true},
		{"kubectl http top --color never", false},
		{"NO_COLOR=1 kubectl http top", false},
		{"NO_COLOR=1 kubectl http top --color always", true},
	} {
		term.press("clear; "+c.command+" -n "+u.namespace+"; clear; echo o''ver", "Enter")
		term.shows("the app", "1 app of namespace "+u.namespace, "colored", "idle")
		if screen := term.tmux("capture-pane", "-p", "-e", "-t", term.session); (strings.Contains(screen, escape+"1m") || strings.Contains(screen, escape+"2m")) != c.colored {
			t.Errorf("%s shows %q", c.command, screen)
		}
		term.press("q")
		term.shows("the shell again", "over")
	}
	// Nobody looks at what goes into a pipe.
	if out, _ := u.within(nil, "top", "--once"); strings.Contains(out, escape) {
		t.Errorf("in a pipe it is %q", out)
	}
}
