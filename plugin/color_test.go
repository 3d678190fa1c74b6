package plugin

import (
	"io"
	"strings"
	"testing"
)

// Colours are for people: on a terminal, unless they are not wanted or cannot be shown.
func TestColoursAreForTerminalsThatCanAndPeopleWhoWantThem(t *testing.T) {
	const esc = "\033["
	for name, c := range map[string]struct {
		terminal   bool
		env, color string
		want       bool
	}{
		"on a terminal":                         {true, "", "", true},
		"in a file":                             {false, "", "", false},
		"with NO_COLOR":                         {true, "NO_COLOR=1", "", false},
		"on a dumb terminal":                    {true, "TERM=dumb", "", false},
		"never":                                 {true, "", "never", false},
		"always, in a file":                     {false, "", "always", true},
		"always, although NO_COLOR is set":      {true, "NO_COLOR=1", "always", true},
		"with an empty NO_COLOR, which none is": {true, "NO_COLOR=", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TERM", "xterm")
			t.Setenv("NO_COLOR", "")
			if variable, value, ok := strings.Cut(c.env, "="); ok {
				t.Setenv(variable, value)
			}
			for command, word := range map[string]string{
				"status hello": esc + "32mserving", "top --once": esc + "32mserving", "doctor --host app.nowhere.test": esc + "32mpass", "list": esc + "32mReady",
			} {
				words := strings.Fields(command)
				if c.color != "" {
					words = append(words, "--color="+c.color)
				}
				out, _, err := scene{terminal: func(io.Writer) bool { return c.terminal }}.call(newCluster(t, usual()...), words)
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Contains(out, word); got != c.want || !got && strings.Contains(out, esc) {
					t.Errorf("%s says %q", command, out)
				}
			}
		})
	}
	for _, command := range []string{"status hello", "top", "doctor", "list"} {
		if _, err := call(t, append(strings.Fields(command), "--color=red")...); ExitCode(err) != ExitUsage || !strings.Contains(err.Error(), "auto, always or never") {
			t.Errorf("%s --color=red: %v", command, err)
		}
	}
}

func TestTheColumnOfTheStatusIsColouredWhereverItIs(t *testing.T) {
	var out strings.Builder
	column := &statusColumn{palette: palette{true}, out: &out}
	for _, part := range []string{"NAMESPACE   NAME    RATE   STATUS   AGE\n", "shop        hello   ~é     Re", "ady    2m\nshop        a       1      PortConflict   2m\n", "too wide a name for it   1   Idle   2m\n", "NAME   AGE\nhello   2m\n"} {
		if _, err := io.WriteString(column, part); err != nil {
			t.Fatal(err)
		}
	}
	const want = "NAMESPACE   NAME    RATE   STATUS   AGE\nshop        hello   ~é     \033[32mReady\033[0m    2m\n" +
		"shop        a       1      \033[31mPortConflict\033[0m   2m\ntoo wide a name for it   1   Idle   2m\nNAME   AGE\nhello   2m\n"
	if out.String() != want {
		t.Errorf("it is\n%q\nnot\n%q", out.String(), want)
	}
}
