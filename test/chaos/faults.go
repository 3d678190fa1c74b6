package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
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

// faults are all that can be broken here. A step of the clock is none of them: a machine has one clock for all. Nor is a full disk:
// our parts write none, and their standard output is the kubelet's.
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
	const short, long = 8 * time.Second, 15 * time.Second
	return []fault{
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
		{"API servers are cut off from the counts", long, 0, cut(system, apiServers, system, interceptors, 9443)},
		{"the scaler is cut off from the counts", long, 0, cut(system, scalers, system, interceptors, 9443)},
		{"KEDA is cut off from the scaler", long, 0, cut("keda", operators, system, scalers, 9090)},
		{"a pod of the app stands still", short, 0, both(frozen(c, namespace, steady), frozen(c, namespace, plain))},
		{"clients open connections and say nothing, or half of it", short, 0, silent(c)},
	}
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

// drop has the node drop what some rules say, of what goes through it and what comes to it. To mend it fails when nothing was dropped:
// what was not broken has not been tried.
func drop(ctx context.Context, rules [][]string) (mend func() error, err error) {
	mend = sync.OnceValue(func() error {
		ctx := context.WithoutCancel(ctx)
		counted, err := iptables(ctx, "-nvxL", chain)
		for _, from := range []string{"FORWARD", "INPUT"} {
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
	for _, from := range []string{"FORWARD", "INPUT"} {
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
