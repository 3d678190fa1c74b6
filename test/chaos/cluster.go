package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	namespace = "chaos"
	system    = "kedahttp-system"
	// replicas are those of the app under load and of the plain Deployment, so that one can go.
	replicas = 2
)

// cluster is what is broken. The program runs in its network namespace.
type cluster struct {
	program, name, server, node string
	// home is the machine's own network namespace.
	home string

	client kubernetes.Interface
}

// manifests are the apps. The load is much less than one replica is for: it calls for no more than there are.
func manifests(sleepers int) string {
	var b strings.Builder
	const pod = `
      terminationGracePeriodSeconds: 5
      containers:
        - name: app
          image: kedahttp/test-echo:dev
          imagePullPolicy: Never
          ports: [{name: web, containerPort: 8080}]
          readinessProbe: {periodSeconds: 1, httpGet: {port: web, path: /healthz}}
`
	app := func(name, scaling string) {
		fmt.Fprintf(&b, "---\napiVersion: apps.http.keda.sh/v1alpha1\nkind: HTTPApp\nmetadata: {name: %s}\nspec:\n  routes: [{hosts: [%s]}]\n  scaling: {%s}\n  template:\n    spec:%s", name, name+".test", scaling, pod)
	}
	app("steady", fmt.Sprintf("minReplicas: %d, maxReplicas: 6, target: 50, cooldown: 5s", replicas))
	for i := range sleepers {
		app(fmt.Sprint("sleeper-", i), "minReplicas: 0, maxReplicas: 1, cooldown: 5s")
	}
	fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: plain}\nspec:\n  replicas: %d\n  selector: {matchLabels: {app: plain}}\n  template:\n    metadata: {labels: {app: plain}}\n    spec:%s", replicas, pod)
	fmt.Fprint(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: plain}\nspec:\n  type: NodePort\n  selector: {app: plain}\n  ports: [{port: 80, targetPort: web, nodePort: 30081}]\n")
	return b.String()
}

func (c *cluster) prepare(ctx context.Context, sleepers int) error {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{})
	config, err := loader.ClientConfig()
	if err != nil {
		return err
	}
	config.Host, config.QPS, config.Timeout = c.server, -1, 5*time.Second
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if err := c.kubectl(ctx, "", "create", "namespace", namespace); err != nil {
		return err
	}
	if err := c.kubectl(ctx, manifests(sleepers), "apply", "-f", "-"); err != nil {
		return err
	}
	return c.kubectl(ctx, "", "wait", "--for=condition=Ready", "httpapps", "--all", "--timeout=90s")
}

func (c *cluster) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := c.kubectl(ctx, "", "delete", "namespace", namespace); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func (c *cluster) kubectl(ctx context.Context, stdin string, args ...string) error {
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"--server", c.server, "--namespace", namespace}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// healthy waits until everything is as it was before anything was broken, and asleep that is to be.
func (c *cluster) healthy(ctx context.Context, sleeper string) error {
	for _, of := range []struct{ namespace, wait string }{
		{system, "deployments"}, {"keda", "deployments"}, {namespace, "deployment/plain"}, {namespace, "deployment/steady"},
	} {
		if err := c.kubectl(ctx, "", "--namespace", of.namespace, "rollout", "status", "--timeout=2m", of.wait); err != nil && of.wait != "deployments" {
			return err
		} else if err != nil {
			if err := c.kubectl(ctx, "", "--namespace", of.namespace, "wait", "--for=condition=Available", "--timeout=2m", "deployments", "--all"); err != nil {
				return err
			}
		}
	}
	return c.until(ctx, time.Minute, "the app "+sleeper+" at zero", func() error {
		d, err := c.client.AppsV1().Deployments(namespace).Get(ctx, sleeper, metav1.GetOptions{})
		if err == nil && d.Status.Replicas > 0 {
			err = fmt.Errorf("%d replicas", d.Status.Replicas)
		}
		return err
	})
}

func (c *cluster) until(ctx context.Context, within time.Duration, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not yet %s: %w", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// suffer breaks something under load and mends it again.
func (c *cluster) suffer(ctx context.Context, f fault, n int) (outcome, error) {
	sleeper := fmt.Sprint("sleeper-", n)
	if err := c.healthy(ctx, sleeper); err != nil {
		return outcome{}, err
	}
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	wrong := make(chan []string, 1)
	go func() { wrong <- c.decisions(watching) }()
	ours, plain := start(ctx, c.node+":30080", "steady.test"), start(ctx, c.node+":30081", "plain.test")
	defer ours.stop()
	defer plain.stop()
	ours.settled(ctx)

	mend, err := f.strike(ctx)
	if mend != nil {
		defer mend() // again, if it does not come to it below
	}
	if err != nil {
		return outcome{}, err
	}
	began := time.Now()
	var wake time.Duration
	var group errgroup.Group
	group.Go(func() error {
		defer func() { wake = time.Since(began) }()
		return ask(ctx, clientOf(c.node+":30080", false), sleeper+".test", "/wake")
	})
	select {
	case <-time.After(f.lasts): // the fault's length, not a wait for something
	case <-ctx.Done():
	}
	if mend != nil {
		if err := mend(); err != nil {
			return outcome{}, fmt.Errorf("mending it: %w", err)
		}
	}
	woke := group.Wait()
	before := ours.count()
	for ctx.Err() == nil && ours.count() < before+20*workers { // what comes back only afterwards is seen, too
		time.Sleep(pause)
	}
	ours.end()
	plain.end()
	unwatch()
	o := outcome{
		Fault: f.name, Requests: ours.sent + 1, Lost: ours.lost, PlatformLost: plain.lost, Stall: ours.longest.Seconds(), PlatformStall: plain.longest.Seconds(),
		Wake: wake.Seconds(), Wrong: <-wrong, Errors: ours.errors,
	}
	if woke != nil {
		o.Lost++
		o.Errors = append(o.Errors, fmt.Sprintf("waking: %v", woke))
	}
	o.Fine = o.Lost <= o.PlatformLost+f.takes && len(o.Wrong) == 0
	return o, nil
}

// decisions looks at the replicas of the app under load until the context ends: its load calls for those that it has.
func (c *cluster) decisions(ctx context.Context) (wrong []string) {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return wrong
		case <-ticker.C:
		}
		scale, err := c.client.AppsV1().Deployments(namespace).GetScale(ctx, "steady", metav1.GetOptions{})
		if err != nil {
			continue // who cannot be asked decides nothing
		}
		if is := scale.Spec.Replicas; is != replicas {
			if said := fmt.Sprintf("%d replicas instead of %d", is, replicas); !slices.Contains(wrong, said) {
				wrong = append(wrong, said)
			}
		}
	}
}

// pods are those of a label in a namespace that run, by name.
func (c *cluster) pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil || p.Status.PodIP == "" })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	if len(pods) == 0 {
		return nil, fmt.Errorf("there is no pod %s in %s", selector, namespace)
	}
	return pods, nil
}

// processes are the pids of a pod's containers, but for the one that only holds its namespaces.
func processes(pod corev1.Pod) (pids []int, err error) {
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	for _, file := range groups {
		group, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(group), string(pod.UID)) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if len(command) == 0 || strings.HasPrefix(string(command), "/pause") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("the pod %s has no process", pod.Name)
	}
	return pids, nil
}

// signal sends a signal to all processes of a pod.
func signalPod(pod corev1.Pod, s unix.Signal) error {
	pids, err := processes(pod)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		err = errors.Join(err, unix.Kill(pid, s))
	}
	return err
}

// killDaemon kills a program of the cluster's own, which runs in the network namespace that this does.
func killDaemon(name string) error {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	killed := 0
	for _, file := range all {
		dir := filepath.Dir(file)
		command, err := os.ReadFile(file)
		program, _, _ := strings.Cut(string(command), "\x00") // they are one file, which goes by its name
		if err != nil || filepath.Base(program) != name {
			continue
		}
		if there, err := os.Readlink(filepath.Join(dir, "ns", "net")); err != nil || there != here {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return fmt.Errorf("killing %s: %w", name, err)
		}
		killed++
	}
	if killed == 0 {
		return fmt.Errorf("no %s runs in this network namespace", name)
	}
	return nil
}

// up starts what of the cluster does not run. Its forwarders belong into the machine's own network namespace.
func (c *cluster) up(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+c.home, c.program, "up", c.name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cluster up %s: %w\n%s", c.name, err, bytes.TrimSpace(out))
	}
	return nil
}
