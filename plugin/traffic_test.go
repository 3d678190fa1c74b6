package plugin

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestAPathIsThatOfTheAppAndNotOfItsHost(t *testing.T) {
	for _, c := range []struct{ app, path, want string }{
		{"http://a.test:8080", "", "http://a.test:8080/"},
		{"http://a.test", "/x?y=1", "http://a.test/x?y=1"},
		{"https://a.test/api", "", "https://a.test/api"},
		{"https://a.test/api", "/items", "https://a.test/api/items"},
		{"https://a.test/api", "/api/items", "https://a.test/api/items"},
		{"https://a.test/api", "/apis", "https://a.test/api/apis"},
	} {
		u, err := url.Parse(c.app)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressOf(u, c.path); got != c.want {
			t.Errorf("%s of %s is %s, not %s", c.path, c.app, got, c.want)
		}
	}
}

func TestTheLastResponseSaysWhetherTheAppWasCold(t *testing.T) {
	for headers, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nX-Request-Id: r1\r\n\r\n":                                                                   "# 200 OK after 0.500 s, warm; request r1",
		"HTTP/1.1 308 Permanent Redirect\r\n\r\nHTTP/2 204 \r\nx-kedahttp-cold-start: total=0.612, address=0.4\r\n\r\n": "# 204 after 0.500 s, cold: total=0.612, address=0.4",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Service Unavailable\r\nX-KedaHTTP-Cold-Start: placeholder\r\n\r\n":   "# 503 Service Unavailable after 0.500 s, cold: the placeholder answered while the app wakes",
		"": "",
	} {
		file := filepath.Join(t.TempDir(), "headers")
		if err := os.WriteFile(file, []byte(headers), 0o600); err != nil {
			t.Fatal(err)
		}
		got := ""
		if status, header, ok := lastResponse(file); ok {
			got = verdict(status, header, 0.5)
		}
		if got != want {
			t.Errorf("of %q it says %q, not %q", headers, got, want)
		}
	}
}

func TestTheAccessLogOfAnAppIsOfNoOther(t *testing.T) {
	keep := accessOf(&v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: "shop"}})
	for line, want := range map[string]bool{
		`{"time":"t","app":"shop/hello","path":"/"}`:     true,
		`{"time":"t","app":"shop/hello2","path":"/"}`:    false,
		`{"app":"shop/other","path":"/shop/hello"}`:      false,
		`I0701 12:00:00 not an access line: shop/hello`:  false,
		`{"time":"t","path":"/","host":"nobody.s.test"}`: false,
	} {
		if keep(line) != want {
			t.Errorf("%s: %v", line, !want)
		}
	}
}

func TestWhatGoesThroughAPortForwardIsForTheApp(t *testing.T) {
	interceptor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+" "+r.URL.Path+" "+r.Header.Get("X-Forwarded-Proto"))
	}))
	defer interceptor.Close()
	dug := 0
	over := make(chan error, 1)
	ways := &tunnels{open: func() (*tunnel, error) {
		dug++
		return &tunnel{address: strings.TrimPrefix(interceptor.URL, "http://"), done: over, stop: func() {}}, nil
	}}
	app, err := url.Parse("https://hello.shop.test:8443/api")
	if err != nil {
		t.Fatal(err)
	}
	handler := toApp(app, ways, t.Errorf)
	ask := func() string {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1:5000/api/x", nil))
		return w.Body.String()
	}
	if got, want := ask(), "hello.shop.test:8443 /api/x https"; got != want {
		t.Errorf("the interceptor got %q, not %q", got, want)
	}
	// The interceptor went: the next connection goes to another.
	over <- nil
	interceptor.CloseClientConnections()
	ask()
	if dug != 2 {
		t.Errorf("%d tunnels were dug", dug)
	}
}

func TestLogsAreOfTheContainersThatWereAskedFor(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "init"}}, Containers: []corev1.Container{{Name: "app"}, {Name: "side"}}}}
	for want, o := range map[string]*logsOptions{"app": {}, "side": {container: "side"}, "init app side": {all: true}} {
		if got := strings.Join(o.containers(pod), " "); got != want {
			t.Errorf("they are %q, not %q", got, want)
		}
	}
}

func TestLinesSayWhereTheyAreFromAndEndWhereTheyEnd(t *testing.T) {
	var out bytes.Buffer
	w := &tailer{out: &out, prefix: true}
	w.write("hello-1", "app", "one\n")
	w.write("hello-2", "app", "cut off")
	if want := "[hello-1/app] one\n[hello-2/app] cut off\n"; out.String() != want {
		t.Errorf("got %q, not %q", &out, want)
	}
}
