//go:build e2e

package e2e

import (
	"os"
	"os/exec"
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
	for shell, s := range shells {
		t.Run(shell, func(t *testing.T) {
			install := "dpkg -s " + s.packages + " >/dev/null 2>&1 || apt-get install -y -qq --no-install-recommends " + s.packages
			if out, err := exec.Command("sh", "-c", install).CombinedOutput(); err != nil {
				t.Skipf("%s cannot be installed: %v\n%s", s.packages, err, out)
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
