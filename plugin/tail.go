package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/ptr"
)

// tailer prints what the containers of an app's pods write.
type tailer struct {
	clients             *clients
	out, errOut         io.Writer
	namespace, selector string
	follow, previous    bool
	prefix, timestamps  bool
	// asJSON makes an object of each line.
	asJSON     bool
	since      time.Time
	tail       *int64
	now        func() time.Time
	containers func(*corev1.Pod) []string
	// keep tells which lines are printed; nil: all.
	keep func(line string) bool

	mu sync.Mutex // of out
}

// begun says whether a container has written anything yet.
func begun(pod *corev1.Pod, container string) bool {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.Name == container {
			return s.State.Running != nil || s.State.Terminated != nil || s.RestartCount > 0
		}
	}
	return false
}

// run is one run of a container: when it restarts, it is another.
type run struct {
	pod, container, id string
}

// followAll prints what all containers write, those of pods that are still to come included, until the context ends.
func (t *tailer) followAll(ctx context.Context) error {
	var streams sync.WaitGroup
	defer streams.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	seen := map[run]bool{}
	started := t.now()
	look := func(obj any) {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return
		}
		for _, container := range t.containers(pod) {
			id := running(pod, container)
			if id == "" {
				continue
			}
			mu.Lock()
			key := run{pod.Name, container, id}
			known := seen[key]
			seen[key] = true
			mu.Unlock()
			if known {
				continue
			}
			// Of what began since, everything is new.
			since, tail := t.since, t.tail
			if pod.CreationTimestamp.After(started) || restarted(pod, container, started) {
				since, tail = time.Time{}, nil
			}
			streams.Go(func() {
				if err := t.copy(ctx, pod.Name, container, since, tail); err != nil && ctx.Err() == nil {
					t.note("%s: %v", pod.Name, err)
				}
			})
		}
	}
	source := cache.NewFilteredListWatchFromClient(t.clients.kubernetes.CoreV1().RESTClient(), "pods", t.namespace, func(o *metav1.ListOptions) {
		o.LabelSelector, o.FieldSelector = t.selector, fields.Everything().String()
	})
	// The list says whether it is allowed; an informer would only repeat it.
	if list, err := t.clients.kubernetes.CoreV1().Pods(t.namespace).List(ctx, metav1.ListOptions{LabelSelector: t.selector, Limit: 1}); err != nil {
		return err
	} else if len(list.Items) == 0 {
		t.note("waiting for a replica")
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source, ObjectType: &corev1.Pod{},
		Handler: cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(obj any, fromTheStart bool) {
				if pod, ok := obj.(*corev1.Pod); ok && !fromTheStart {
					t.note("%s has come", pod.Name)
				}
				look(obj)
			},
			UpdateFunc: func(_, obj any) { look(obj) },
			DeleteFunc: func(obj any) {
				if pod, ok := obj.(*corev1.Pod); ok {
					t.note("%s has gone", pod.Name)
				}
			},
		},
	})
	informer.RunWithContext(ctx)
	return nil
}

// running identifies the run of a container that writes, or has written, now; empty if it has not begun.
func running(pod *corev1.Pod, container string) string {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.Name == container && (s.State.Running != nil || s.State.Terminated != nil) {
			return s.ContainerID
		}
	}
	return ""
}

// restarted says whether a container's present run began after a time.
func restarted(pod *corev1.Pod, container string, after time.Time) bool {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == container && s.State.Running != nil {
			return s.State.Running.StartedAt.After(after)
		}
	}
	return false
}

// note tells beside the logs what happens.
func (t *tailer) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.errOut, "# "+format+"\n", args...)
}

// copy prints what a container writes. A stream that breaks off while the container runs is taken up again where it was.
func (t *tailer) copy(ctx context.Context, pod, container string, since time.Time, tail *int64) error {
	pace := flowcontrol.NewBackOff(time.Second, 30*time.Second)
	for {
		last, err := t.stream(ctx, pod, container, since, tail)
		if !t.follow || ctx.Err() != nil || !errors.Is(err, errBroken) {
			return err
		}
		since, tail = last, nil
		pace.Next(pod, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pace.Get(pod)):
		}
	}
}

// errBroken says that a stream of lines ended in an error, rather than with the container.
var errBroken = errors.New("the log broke off")

// stream prints one stream of lines, and returns when it was last read.
func (t *tailer) stream(ctx context.Context, pod, container string, since time.Time, tail *int64) (last time.Time, err error) {
	opts := &corev1.PodLogOptions{Container: container, Follow: t.follow, Previous: t.previous, TailLines: tail, Timestamps: t.timestamps || t.asJSON}
	if !since.IsZero() {
		opts.SinceTime = ptr.To(metav1.NewTime(since))
	}
	stream, err := t.clients.kubernetes.CoreV1().Pods(t.namespace).GetLogs(pod, opts).Stream(ctx)
	if err != nil {
		return last, err
	}
	defer stream.Close() //nolint:errcheck // it was read to its end
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			t.take(pod, container, line)
		}
		last = t.now()
		switch {
		case errors.Is(err, io.EOF):
			return last, nil
		case err != nil:
			return last, errors.Join(errBroken, err)
		}
	}
}

// logLine is a line for other programs.
type logLine struct {
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Time      string `json:"time"`
	Line      string `json:"line"`
}

// take prints a line as it came, with its time in front if that was asked for, unless it is not to be kept.
func (t *tailer) take(pod, container, line string) {
	at, text := "", line
	if t.timestamps || t.asJSON {
		at, text, _ = strings.Cut(line, " ")
	}
	switch {
	case t.keep != nil && !t.keep(text):
	case t.asJSON:
		t.mu.Lock()
		defer t.mu.Unlock()
		_ = json.NewEncoder(t.out).Encode(logLine{pod, container, at, strings.TrimSuffix(text, "\n")}) // as with lines of text
	default:
		t.write(pod, container, line)
	}
}

func (t *tailer) write(pod, container, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.prefix {
		fmt.Fprintf(t.out, "[%s/%s] ", pod, container)
	}
	fmt.Fprint(t.out, line)
	if line[len(line)-1] != '\n' {
		fmt.Fprintln(t.out)
	}
}

// hasContainer says which containers there are, if pods have none of a name.
func (t *tailer) hasContainer(ctx context.Context, name string) error {
	pods, err := t.clients.kubernetes.CoreV1().Pods(t.namespace).List(ctx, metav1.ListOptions{LabelSelector: t.selector})
	if err != nil {
		return err
	}
	var there []string
	for i := range pods.Items {
		for _, c := range slices.Concat(pods.Items[i].Spec.InitContainers, pods.Items[i].Spec.Containers) {
			if c.Name == name {
				return nil
			}
			if !slices.Contains(there, c.Name) {
				there = append(there, c.Name)
			}
		}
	}
	if len(there) == 0 {
		return nil // there is no pod
	}
	return fmt.Errorf("its pods have no container %s; there is: %s", name, strings.Join(there, ", "))
}

// readAll prints what there is, pod by pod; found is false if there is no pod.
func (t *tailer) readAll(ctx context.Context) (found bool, err error) {
	pods, err := t.clients.kubernetes.CoreV1().Pods(t.namespace).List(ctx, metav1.ListOptions{LabelSelector: t.selector})
	if err != nil {
		return false, err
	}
	several := len(pods.Items) > 1
	t.prefix = t.prefix && (several || len(pods.Items) == 1 && len(t.containers(&pods.Items[0])) > 1)
	var problems []error
	for i := range pods.Items {
		pod := &pods.Items[i]
		for _, container := range t.containers(pod) {
			if !begun(pod, container) {
				continue
			}
			if err := t.copy(ctx, pod.Name, container, t.since, t.tail); err != nil && !errors.Is(err, io.EOF) {
				problems = append(problems, err)
			}
		}
	}
	return len(pods.Items) > 0, errors.Join(problems...)
}
