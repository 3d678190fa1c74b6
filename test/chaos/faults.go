package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fault is something that breaks.
type fault struct {
	name string
	// lasts is how long it is left broken.
	lasts time.Duration
	// takes is how many requests go with what is broken: those that it was answering at that moment, at most one of each worker.
	takes int
	// strike breaks it, and returns what mends it, which does no harm twice; nil if it mends itself.
	strike func(ctx context.Context) (mend func() error, err error)
}

const (
	interceptors = "app.kubernetes.io/name=kedahttp-interceptor"
	apiServers   = "app.kubernetes.io/name=kedahttp-apiserver"
	scalers      = "app.kubernetes.io/name=kedahttp-scaler"
	operators    = "app=keda-operator"
	steady       = "apps.http.keda.sh/httpapp=steady"
	plain        = "app=plain"
)

// faults are all that can be broken here.
func faults(c *cluster, random *rand.Rand) []fault {
	// killed kills pods of a kind: one, or all.
	killed := func(namespace, selector string, all bool) func(context.Context) (func() error, error) {
		pick := random.IntN(1 << 20)
		return func(ctx context.Context) (func() error, error) {
			pods, err := c.pods(ctx, namespace, selector)
			if err != nil {
				return nil, err
			}
			if !all {
				pods = pods[pick%len(pods):][:1]
			}
			for _, p := range pods {
				err = errors.Join(err, signalPod(p, unix.SIGKILL))
			}
			return nil, err
		}
	}
	both := func(strikes ...func(context.Context) (func() error, error)) func(context.Context) (func() error, error) {
		return func(ctx context.Context) (func() error, error) {
			var mends []func() error
			for _, s := range strikes {
				mend, err := s(ctx)
				if mend != nil {
					mends = append(mends, mend)
				}
				if err != nil {
					return joined(mends), err
				}
			}
			return joined(mends), nil
		}
	}
	daemon := func(name string) func(context.Context) (func() error, error) {
		return func(ctx context.Context) (func() error, error) {
			return func() error { return c.up(ctx) }, killDaemon(name)
		}
	}
	// cut drops what goes from one kind of pods to a port of others, or of the node.
	cut := func(namespace, from, toNamespace, to string, port int) func(context.Context) (func() error, error) {
		return func(ctx context.Context) (func() error, error) {
			sources, err := c.pods(ctx, namespace, from)
			if err != nil {
				return nil, err
			}
			targets := []string{c.node}
			if to != "" {
				pods, err := c.pods(ctx, toNamespace, to)
				if err != nil {
					return nil, err
				}
				targets = addresses(pods)
			}
			var rules [][]string
			for _, s := range addresses(sources) {
				for _, t := range targets {
					rules = append(rules, []string{"-s", s, "-d", t, "-p", "tcp", "--dport", fmt.Sprint(port), "-j", "DROP"})
				}
			}
			return drop(ctx, rules)
		}
	}
	// unreached drops all that is for a port of a kind of pods, whoever it is from: kubelets' probes as well.
	unreached := func(toNamespace, to string, port int) func(context.Context) (func() error, error) {
		return func(ctx context.Context) (func() error, error) {
			pods, err := c.pods(ctx, toNamespace, to)
			if err != nil {
				return nil, err
			}
			var rules [][]string
			for _, t := range addresses(pods) {
				rules = append(rules, []string{"-d", t, "-p", "tcp", "--dport", fmt.Sprint(port), "-j", "DROP"})
			}
			return drop(ctx, rules)
		}
	}
	const short, long = 8 * time.Second, 15 * time.Second
	all := []fault{
		{"an interceptor is killed", short, workers, both(killed(system, interceptors, false), killed(namespace, plain, false))},
		{"all interceptors are killed", short, workers, both(killed(system, interceptors, true), killed(namespace, plain, true))},
		{"a pod of the app is killed", short, 0, both(killed(namespace, steady, false), killed(namespace, plain, false))},
		{"an API server is killed", short, 0, killed(system, apiServers, false)},
		{"all API servers are killed", short, 0, killed(system, apiServers, true)},
		{"the scaler is killed", short, 0, killed(system, scalers, true)},
		{"KEDA is killed", short, 0, killed("keda", operators, true)},
		{"everything of ours and KEDA but the interceptors is killed", short, 0, both(killed(system, apiServers, true), killed(system, scalers, true), killed("keda", operators, true))},
		{"the kube-apiserver is killed", short, 0, daemon("kube-apiserver")},
		{"etcd is killed", short, 0, daemon("etcd")},
		{"the kubelet is killed", short, 0, daemon("kubelet")},
		{"interceptors are cut off from the kube-apiserver", long, 0, cut(system, interceptors, "", "", 6443)},
		{"API servers are cut off from the kube-apiserver", long, 0, cut(system, apiServers, "", "", 6443)},
		{"the scaler is cut off from the kube-apiserver", long, 0, cut(system, scalers, "", "", 6443)},
		{"KEDA is cut off from the kube-apiserver", long, 0, cut("keda", operators, "", "", 6443)},
		{"the kube-apiserver and the kubelet are cut off from the API servers", long, 0, unreached(system, apiServers, 8443)},
		{"interceptors are cut off from the app's pods", long, 0, cut(system, interceptors, namespace, steady, 8080)},
		{"API servers are cut off from the counts", long, 0, cut(system, apiServers, system, interceptors, 9443)},
		{"the scaler is cut off from the counts", long, 0, cut(system, scalers, system, interceptors, 9443)},
		{"KEDA is cut off from the scaler", long, 0, cut("keda", operators, system, scalers, 9090)},
		{"a pod of the app stands still", short, 0, both(frozen(c, namespace, steady), frozen(c, namespace, plain))},
		{"packets to a pod of the app are lost", long, 0, lost(c, 1, "")},
		{"one packet in five to the app is lost", long, 0, lost(c, 5, "")},
		{"one packet in five from the app is lost", long, 0, lost(c, 5, "from")},
		{"clients open connections and say nothing, or half of it", short, 0, silent(c)},
		{"clients send byte by byte, and read long answers as slowly", long, 0, slow(c)},
		{"the disk for an interceptor's log is full", long, 0, fullDisk(c)},
	}
	if runtime.GOARCH != "amd64" { // whose code it takes to set one part's clock alone
		return all
	}
	return append(all,
		fault{"an interceptor's clock jumps an hour ahead, and back", long, 0, wrongClock(c, interceptors, time.Hour, "http", ":9901/livez")},
		fault{"an interceptor's clock jumps an hour back, and ahead", long, 0, wrongClock(c, interceptors, -time.Hour, "http", ":9901/livez")},
		fault{"an API server's clock jumps an hour ahead, and back", long, 0, wrongClock(c, apiServers, time.Hour, "https", ":8443/livez")},
		fault{"an API server's clock jumps an hour back, and ahead", long, 0, wrongClock(c, apiServers, -time.Hour, "https", ":8443/livez")},
		fault{"the scaler's clock jumps an hour ahead, and back", long, 0, wrongClock(c, scalers, time.Hour, "http", ":9901/livez")},
		fault{"the scaler's clock jumps an hour back, and ahead", long, 0, wrongClock(c, scalers, -time.Hour, "http", ":9901/livez")},
	)
}

func addresses(pods []corev1.Pod) (all []string) {
	for _, p := range pods {
		all = append(all, p.Status.PodIP)
	}
	return all
}

// joined mends all, once.
func joined(mends []func() error) func() error {
	if len(mends) == 0 {
		return nil
	}
	return sync.OnceValue(func() (err error) {
		for _, mend := range mends {
			err = errors.Join(err, mend())
		}
		return err
	})
}

// chain is where the node is told what to drop.
const chain = "CHAOS"

// hooks are where everything passes that is for a pod, from a pod, or from the node itself, as the load past kedahttp is.
var hooks = []string{"FORWARD", "INPUT", "OUTPUT"}

// drop has the node drop what some rules say, of what goes through it and what comes to it. To mend it fails when nothing was dropped:
// what was not broken has not been tried.
func drop(ctx context.Context, rules [][]string) (mend func() error, err error) {
	mend = sync.OnceValue(func() error {
		ctx := context.WithoutCancel(ctx)
		counted, err := iptables(ctx, "-nvxL", chain)
		for _, from := range hooks {
			_, failed := iptables(ctx, "-D", from, "-j", chain)
			err = errors.Join(err, failed)
		}
		for _, last := range []string{"-F", "-X"} {
			_, failed := iptables(ctx, last, chain)
			err = errors.Join(err, failed)
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(counted) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "DROP" && fields[0] != "0" {
				return nil
			}
		}
		return fmt.Errorf("nothing was dropped:\n%s", counted)
	})
	if _, err := iptables(ctx, "-N", chain); err != nil {
		return nil, err
	}
	for _, rule := range rules {
		if _, err := iptables(ctx, append([]string{"-A", chain}, rule...)...); err != nil {
			return mend, err
		}
	}
	for _, from := range hooks {
		if _, err := iptables(ctx, "-I", from, "1", "-j", chain); err != nil {
			return mend, err
		}
	}
	return mend, nil
}

func iptables(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "iptables", append([]string{"--wait"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("iptables %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// frozen stops the first pod of a kind without ending it.
func frozen(c *cluster, namespace, selector string) func(context.Context) (func() error, error) {
	return func(ctx context.Context) (func() error, error) {
		pods, err := c.pods(ctx, namespace, selector)
		if err != nil {
			return nil, err
		}
		mend := sync.OnceValue(func() error { return signalPod(pods[0], unix.SIGCONT) })
		return mend, signalPod(pods[0], unix.SIGSTOP)
	}
}

// silent opens connections to the interceptors, on which nothing is said, half a head, or half a body.
func silent(c *cluster) func(context.Context) (func() error, error) {
	return func(ctx context.Context) (func() error, error) {
		var all []net.Conn
		mend := sync.OnceValue(func() error {
			for _, conn := range all {
				_ = conn.Close()
			}
			return nil
		})
		for i := range 600 {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.node+":30080")
			if err != nil {
				return mend, err
			}
			all = append(all, conn)
			said := []string{"", "GET / HTTP/1.1\r\nHost: steady.test\r\nX-Long"}[i%2]
			if i%20 == 0 { // these count, as they should: no more of them than the app's pods are for
				said = "POST / HTTP/1.1\r\nHost: steady.test\r\nContent-Length: 100000\r\n\r\nhalf"
			}
			if _, err := conn.Write([]byte(said)); err != nil {
				return mend, err
			}
		}
		return mend, nil
	}
}

// lost loses every nth packet on the way to the app's port or from it, of all pods, or of the first one if it is all packets: of the app under
// load, and of the plain Deployment.
func lost(c *cluster, nth int, direction string) func(context.Context) (func() error, error) {
	return func(ctx context.Context) (func() error, error) {
		var rules [][]string
		for _, selector := range []string{steady, plain} {
			pods, err := c.pods(ctx, namespace, selector)
			if err != nil {
				return nil, err
			}
			if nth == 1 {
				pods = pods[:1]
			}
			for _, p := range addresses(pods) {
				rule := []string{"-d", p, "-p", "tcp", "--dport", "8080"}
				if direction == "from" {
					rule = []string{"-s", p, "-p", "tcp", "--sport", "8080"}
				}
				if nth > 1 {
					rule = append(rule, "-m", "statistic", "--mode", "nth", "--every", fmt.Sprint(nth), "--packet", "0")
				}
				rules = append(rules, append(rule, "-j", "DROP"))
			}
		}
		return drop(ctx, rules)
	}
}

// slow is many clients that take as long as they like: heads and bodies byte by byte, and answers that are read as slowly.
func slow(c *cluster) func(context.Context) (func() error, error) {
	return func(ctx context.Context) (func() error, error) {
		var all []net.Conn
		done := make(chan struct{})
		mend := sync.OnceValue(func() error {
			close(done)
			for _, conn := range all {
				_ = conn.Close()
			}
			return nil
		})
		const head = "Host: steady.test\r\nX-Padding: " // and no end of it
		for i := range 400 {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.node+":30080")
			if err != nil {
				return mend, err
			}
			all = append(all, conn)
			said, more := "GET / HTTP/1.1\r\n"+head, true
			switch i % 10 { // these are requests, and count as such: fewer than the app's pods are for
			case 0:
				said = "POST / HTTP/1.1\r\nHost: steady.test\r\nContent-Length: 100000\r\n\r\n"
			case 1:
				said, more = "GET /download?size=8000000 HTTP/1.1\r\nHost: steady.test\r\n\r\n", false
			}
			if _, err := conn.Write([]byte(said)); err != nil {
				return mend, err
			}
			go func() {
				tick := time.NewTicker(200 * time.Millisecond)
				defer tick.Stop()
				b := []byte{'x'}
				for {
					select {
					case <-done:
						return
					case <-tick.C:
					}
					var err error
					if more {
						_, err = conn.Write(b)
					} else {
						_, err = conn.Read(b)
					}
					if err != nil {
						return // it has had enough of this
					}
				}
			}()
		}
		return mend, nil
	}
}

// fullDisk puts the log of an interceptor on a file system of its own, and fills that. The container has to start anew for it: its log is
// opened then.
func fullDisk(c *cluster) func(context.Context) (func() error, error) {
	return func(ctx context.Context) (func() error, error) {
		pods, err := c.pods(ctx, system, interceptors)
		if err != nil {
			return nil, err
		}
		p := pods[0]
		dir := filepath.Join("/var/lib/kedahttp-cluster", c.name, "logs", "pods", fmt.Sprintf("%s_%s_%s", p.Namespace, p.Name, p.UID), "interceptor")
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
		restart := func() error {
			before, err := c.client.CoreV1().Pods(system).Get(ctx, p.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if err := signalPod(p, unix.SIGTERM); err != nil { // it ends as in a rollout
				return err
			}
			return c.until(ctx, 2*time.Minute, "the interceptor started anew", func() error {
				now, err := c.client.CoreV1().Pods(system).Get(ctx, p.Name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				if s := now.Status.ContainerStatuses; len(s) == 0 || !s[0].Ready || s[0].RestartCount == before.Status.ContainerStatuses[0].RestartCount {
					return errors.New("it is not ready")
				}
				return nil
			})
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			return nil, fmt.Errorf("mounting %s: %w", dir, err)
		}
		mend := sync.OnceValue(func() error {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmounting %s: %w", dir, err)
			}
			return restart()
		})
		if err := restart(); err != nil {
			return mend, err
		}
		if err := fill(filepath.Join(dir, "full")); err != nil {
			return mend, err
		}
		// What it refuses it writes down, far more than a pipe holds.
		refused := clientOf(p.Status.PodIP+":8080", true)
		defer refused.CloseIdleConnections()
		for range 2000 {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nobody.test/"+strings.Repeat("x", 200), nil)
			if err != nil {
				return mend, err
			}
			res, err := refused.Do(r)
			if err != nil {
				return mend, fmt.Errorf("the interceptor whose log is full: %w", err)
			}
			_ = res.Body.Close()
		}
		return mend, nil
	}
}

// fill writes until no more fits.
func fill(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1<<10))
	}
	if closed := f.Close(); !errors.Is(err, unix.ENOSPC) {
		return errors.Join(err, closed)
	}
	return nil
}
