package plugin

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

var rewrite = flag.Bool("update", false, "Write the golden files anew.")

// scene is a call of a command, and what is otherwise than usual when it is called.
type scene struct {
	// shows is what it is an example of.
	shows string
	args  string
	// given changes the usual cluster.
	given func(*cluster)
	// stdin is what is read.
	stdin string
	// until interrupts the command when it has said so.
	until string
	// terminal says whether an output is one; nil: none is.
	terminal func(io.Writer) bool
}

// What every command says, on stdout and on stderr, and how it ends, is written in testdata/COMMAND.golden; go test -update writes it anew.
func TestEveryCommandSaysWhatIsWritten(t *testing.T) {
	t.Setenv("HOME", "/home/jo")
	commands := map[string]bool{}
	for _, name := range names(tree()) {
		commands[name] = true
		if len(scenes[name]) == 0 {
			t.Errorf("%s has no scene", name)
		}
	}
	for name, all := range scenes {
		if !commands[name] {
			t.Errorf("there are scenes of %s, and no such command", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			for _, s := range all {
				text.WriteString(s.play(t, name))
			}
			file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+".golden")
			if *rewrite {
				if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if text.String() != string(want) {
				t.Errorf("it says\n%s\nnot\n%s", differing(text.String(), string(want)), file)
			}
		})
	}
}

// tree is the whole command.
func tree() *cobra.Command {
	streams := discardStreams()
	flags := genericclioptions.NewConfigFlags(true)
	return newCommand(newSession("kubectl http", streams, flags), flags)
}

// names are those of a command's subcommands, and of theirs: "set image".
func names(cmd *cobra.Command) (all []string) {
	for _, sub := range cmd.Commands() {
		if sub.Name() == "help" {
			continue
		}
		all = append(all, strings.TrimPrefix(sub.CommandPath(), sub.Root().CommandPath()+" "))
		all = append(all, names(sub)...)
	}
	return all
}

// differing is the part of a text that is otherwise than another.
func differing(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return "+ " + strings.Join(a, "\n+ ") + "\n- " + strings.Join(b, "\n- ")
}

// play calls the command, and writes what it said.
func (s scene) play(t *testing.T, name string) string {
	t.Helper()
	c := newCluster(t, usual()...)
	c.logs["hello-1/app"] = "listening on :8080\nGET / 200\nGET /slow 200\n"
	c.logs["kedahttp-interceptor-1/interceptor"] = `{"time":"2026-07-01T11:59:59Z","app":"shop/hello","method":"GET","path":"/","status":200}` + "\n" + `{"app":"shop/other","path":"/"}` + "\n"
	if s.given != nil {
		s.given(c)
	}
	stdout, stderr, err := s.call(c, strings.Fields(name+" "+s.args))
	var text strings.Builder
	fmt.Fprintf(&text, "# %s\n$ %s\n", s.shows, strings.TrimSpace("kubectl http "+name+" "+s.args))
	text.WriteString(normal(c, stdout))
	if stdout != "" && !strings.HasSuffix(stdout, "\n") {
		text.WriteString("\n")
	}
	if err != nil && err.Error() != "" {
		stderr += "error: " + err.Error() + "\n"
	}
	for line := range strings.Lines(normal(c, stderr)) {
		text.WriteString("2> " + line)
	}
	fmt.Fprintf(&text, "exit %d\n\n", ExitCode(err))
	return text.String()
}

// call calls a command in the cluster.
func (s scene) call(c *cluster, words []string) (stdout, stderr string, err error) {
	c.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hear := func(text string) {
		if s.until != "" && strings.Contains(text, s.until) {
			cancel()
		}
	}
	out, errOut := &said{hear: hear}, &said{hear: hear}
	flags := genericclioptions.NewConfigFlags(true)
	session := newSession("kubectl http", genericiooptions.IOStreams{In: strings.NewReader(s.stdin), Out: out, ErrOut: errOut}, flags)
	session.now = noonNow
	if s.terminal != nil {
		session.terminal = s.terminal
	}
	session.lookup = func(_ context.Context, host string) ([]string, error) {
		if strings.HasSuffix(host, ".nowhere.test") {
			return nil, fmt.Errorf("lookup %s: no such host", host)
		}
		return []string{"127.0.0.1"}, nil
	}
	interceptor := newInterceptor(c)
	session.forward = func(_ context.Context, _ *clients, pod *corev1.Pod, _ int32) (*tunnel, error) {
		return &tunnel{address: interceptor, pod: pod.Namespace + "/" + pod.Name, done: make(chan error), stop: func() {}}, nil
	}
	session.program = func(name string) (string, error) { return filepath.Abs(filepath.Join("testdata", "bin", name)) }
	cmd := newCommand(session, flags)
	dash := len(words)
	for i, word := range words {
		if word == "--" {
			dash = i
			break
		}
	}
	words = append(append(append([]string{}, words[:dash]...), "--kubeconfig="+c.kubeconfig(), "--cache-dir="+c.TempDir()), words[dash:]...)
	cmd.SetArgs(words)
	err = cmd.ExecuteContext(ctx)
	return out.String(), errOut.String(), err
}

// newInterceptor starts what answers for an interceptor, and returns its address. /cold is answered as after a cold start.
func newInterceptor(t testing.TB) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		w.Header().Set("X-Request-Id", "r-1")
		switch r.URL.Path {
		case "/cold":
			w.Header().Set(coldStartHeader, "total=0.612, created=0.011, address=0.401, first-byte=0.612")
		case "/broken":
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = io.WriteString(w, r.Method+" "+r.Host+r.URL.String()+"\n")
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// normal is a text without what is otherwise at every time and in every place.
func normal(c *cluster, text string) string {
	for from, to := range map[string]string{c.server.URL: "https://cluster.test:6443", runtime.Version(): "GO"} {
		text = strings.ReplaceAll(text, from, to)
	}
	return loopback.ReplaceAllString(text, "127.0.0.1:PORT")
}
