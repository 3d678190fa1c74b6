//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shells are those that kubectl completes in, each with what it takes to begin and the packages that it comes with.
var shells = map[string]struct{ begin, setup, packages string }{
	"bash": {"bash --norc --noprofile", "source /usr/share/bash-completion/bash_completion; source <(kubectl completion bash)", "bash bash-completion"},
	"zsh":  {"zsh -f", "autoload -U compinit; compinit -u -D; source <(kubectl completion zsh)", "zsh"},
	"fish": {"fish --no-config", "set fish_autosuggestion_enabled 0; kubectl completion fish | source", "fish"},
}

// What the Tab key does to a command line, by way of kubectl's own completion.
func TestShellsCompleteThePlugin(t *testing.T) {
	beside(t)
	for shell, s := range shells {
		t.Run(shell, func(t *testing.T) {
			if err := installed(s.packages); err != nil {
				t.Skip(err)
			}
			u := newUser(t)
			u.plugin("deploy", "first", "--image", "example.com/first:1", "--no-wait")
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "kubectl_complete-http"), []byte(u.plugin("completion")), 0o700); err != nil {
				t.Fatal(err)
			}
			term := u.newTerminal("HOME="+dir, "PATH="+dir+":$PATH", "PS1=", s.begin)
			// The word is not on the screen before the shell has set itself up and says it.
			term.press(s.setup, "Enter", "clear; echo rea''dy", "Enter")
			term.shows("a shell that is ready", "ready")

			const short = "kubectl http st"
			term.press(short, "Tab")
			term.shows("the command completed", "kubectl http status")
			term.press("--namespace="+u.namespace+" fi", "Tab")
			term.shows("the name of the app completed", "status --namespace="+u.namespace+" first")
			term.press("--output na", "Tab")
			term.shows("the value of a flag completed", " first --output name")
			term.press("Enter")
			term.shows("the command run as it was completed", "httpapp.apps.http.keda.sh/first")
			if strings.Contains(term.screen(), "command not found") {
				t.Errorf("the screen is\n%s", term.screen())
			}
			term.press("exit", "Enter")
			term.shows("the shell's end, with all that it writes then", "ended with 0")
		})
	}
}

// What flags are completed by is asked of the cluster, with the flags of the connection that are on the line.
func TestFlagsAreCompletedByWhatThereIs(t *testing.T) {
	u := newUser(t)
	u.deploy("first", "--no-wait")
	u.kubectl("label", "httpapp", "first", "team=web")
	u.kubectl("create", "configmap", "settings")
	u.kubectl("create", "secret", "generic", "password")
	u.apply("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: front}\nstringData: {tls.crt: '', tls.key: ''}\n")
	u.eventually(soon, "its first revision", func() error {
		out, err := u.try("", "http", "history", "first")
		if err == nil && !strings.Contains(out, "1 (current)") {
			err = fmt.Errorf("there is\n%s", out)
		}
		return err
	})
	u.plugin("set", "env", "first", "STEP=2")
	u.says(u.plugin("completion"), "kubectl http __complete")
	for line, want := range map[string]string{
		"rollback first ":                                  "1",
		"logs first -c ":                                   "app",
		"deploy new --from deploy":                         "deployment/",
		"deploy new --from deployment/":                    "deployment/first",
		"deploy first --env-from configmap/s":              "configmap/settings",
		"deploy first --env-from secret/p":                 "secret/password",
		"deploy first --tls-secret ":                       "front",
		"doctor --system-namespace " + systemNamespace[:5]: systemNamespace,
		"list -l ":      "team=",
		"list -l team=": "team=web",
	} {
		u.eventually(soon, line+"completed", func() error { // a revision comes after the change
			out, err := u.try("", append([]string{"http", "__complete"}, strings.Split(line, " ")...)...)
			if first, _, _ := strings.Cut(out, "\n"); err == nil && first != want && !strings.HasPrefix(first, want+"\t") {
				err = fmt.Errorf("it is completed by\n%s", out)
			}
			return err
		})
	}
}
