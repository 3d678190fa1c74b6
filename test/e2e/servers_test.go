//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	systemNamespace = "kedahttp-system"
	apiServers      = "app.kubernetes.io/name=kedahttp-apiserver"
	interceptors    = "app.kubernetes.io/name=kedahttp-interceptor"
	apiServiceName  = "v1alpha1.apps.http.keda.sh"
)

// operator is whoever runs kedahttp in the cluster.
func operator(t *testing.T) user { return user{T: t, namespace: systemNamespace} }

// secret reads a Secret as the cluster's administrator.
func (u user) secret(namespace, name string) *corev1.Secret {
	u.Helper()
	var s corev1.Secret
	if err := json.Unmarshal([]byte(operator(u.T).kubectl("get", "secret", "--namespace", namespace, name, "-o", "json")), &s); err != nil {
		u.Fatal(err)
	}
	return &s
}

// administrator is the configuration of the cluster's administrator.
func administrator(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

// inside connects to an address of the cluster's network.
func inside(ctx context.Context, network, address string) (conn net.Conn, err error) {
	return conn, visit(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
}

// visit makes a socket in the cluster's network.
func visit(socket func() error) error {
	// A socket belongs to the namespace of the thread that made it, wherever it is used afterwards.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open(os.Getenv("KEDAHTTP_NETNS"))
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the cluster's network: %w", err)
	}
	err = socket()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("leaving the cluster's network: %v", back))
	}
	return err
}

// servers are the pods of the API server that run.
func (u user) servers() []corev1.Pod {
	u.Helper()
	return u.running(apiServers)
}

// running are the pods of the system that the selector selects and that run.
func (u user) running(selector string) []corev1.Pod {
	u.Helper()
	client, err := kubernetes.NewForConfig(administrator(u.T))
	if err != nil {
		u.Fatal(err)
	}
	list, err := client.CoreV1().Pods(systemNamespace).List(context.Background(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		u.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil || p.Status.PodIP == "" })
}

// leader is the name of the pod that leads the reconciler.
func (u user) leader() string {
	u.Helper()
	holder := operator(u.T).kubectl("get", "lease", "kedahttp-reconciler", "-o", "jsonpath={.spec.holderIdentity}")
	pod, _, _ := strings.Cut(holder, "_")
	return pod
}

// process is the pid of the pod's server, as this machine sees it.
func (u user) process(pod corev1.Pod) int {
	u.Helper()
	program := "/" + strings.TrimPrefix(pod.Labels["app.kubernetes.io/name"], "kedahttp-") + "\x00"
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		u.Fatal(err)
	}
	var found []int
	for _, file := range groups {
		group, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(group), string(pod.UID)) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if !strings.HasPrefix(string(command), program) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		found = append(found, pid)
	}
	if len(found) != 1 {
		u.Fatalf("the pod %s has not one process but %v", pod.Name, found)
	}
	return found[0]
}

// kill kills the pod's server as nothing but a crash of the machine would.
func (u user) kill(pod corev1.Pod) {
	u.Helper()
	if err := unix.Kill(u.process(pod), unix.SIGKILL); err != nil {
		u.Fatalf("killing the server of the pod %s: %v", pod.Name, err)
	}
}

// prober sends the same GET again and again, and keeps what was not as it should be.
type prober struct {
	mu       sync.Mutex
	answers  map[int]int
	problems []string
	stop     func()
}

// probe begins to send GETs for the path, each on what the client makes of it, until it is stopped. Answers with one of the
// codes are right; an error is one of the connection, and allowed or not.
func (u user) probe(client *http.Client, url string, errors bool, codes ...int) *prober {
	return u.probeBy(func(ctx context.Context) (int, string, error) { return once(ctx, client, url) }, errors, codes...)
}

func (u user) probeBy(ask func(context.Context) (code int, body string, err error), errors bool, codes ...int) *prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &prober{answers: map[int]int{}}
	done := make(chan struct{})
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	u.Cleanup(p.stop)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			code, body, err := ask(ctx)
			if ctx.Err() != nil {
				return
			}
			p.mu.Lock()
			p.answers[code]++
			if err != nil && !errors || err == nil && !slices.Contains(codes, code) {
				p.problems = append(p.problems, fmt.Sprintf("%s: %d %.300s %v", time.Now().Format("15:04:05.000"), code, body, err))
			}
			p.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond): // the rate, not a wait for something
			}
		}
	}()
	return p
}

func once(ctx context.Context, client *http.Client, url string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// check ends the probes and fails the test if one of them was not right.
func (p *prober) check(u user, what string) {
	u.Helper()
	p.stop()
	u.Logf("%s: answers by code %v", what, p.answers)
	if p.answers[http.StatusOK] == 0 {
		u.Errorf("%s: never answered", what)
	}
	for i, problem := range p.problems {
		if i == 5 {
			u.Errorf("%s: … and %d more", what, len(p.problems)-i)
			break
		}
		u.Errorf("%s: %s", what, problem)
	}
}

// direct is a client of one server itself, with the administrator's certificate.
func (u user) direct() *http.Client {
	u.Helper()
	config := administrator(u.T)
	config.TLSClientConfig.Insecure = true
	config.TLSClientConfig.CAData, config.TLSClientConfig.CAFile = nil, ""
	config.Dial = inside
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		u.Fatal(err)
	}
	return client
}

// availability hears of every change of the APIService's, and returns what says when it was not available.
func (u user) availability() (outages func() []string) {
	u.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := operator(u.T).command(ctx, "get", "apiservice", apiServiceName, "--watch", "-o",
		`jsonpath={range .status.conditions[?(@.type=="Available")]}{.status} {.reason} {.message}{"\n"}{end}`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		u.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	var seen []byte
	done := make(chan struct{})
	go func() { defer close(done); seen, _ = io.ReadAll(out) }()
	stop := sync.OnceFunc(func() { cancel(); <-done; _ = cmd.Wait() })
	u.Cleanup(stop)
	return func() []string {
		stop()
		lines := strings.Split(strings.TrimSpace(string(seen)), "\n")
		return slices.DeleteFunc(lines, func(l string) bool { return l == "" || strings.HasPrefix(l, "True") })
	}
}

// allServersReady waits until the API server is as it should be.
func (u user) allServersReady() {
	u.Helper()
	o := operator(u.T)
	o.kubectl("rollout", "status", "deployment/kedahttp-apiserver", "--timeout=3m")
	o.kubectl("wait", "--for=condition=Available", "apiservice/"+apiServiceName, "--timeout=2m")
}
