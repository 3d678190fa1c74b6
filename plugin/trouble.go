package plugin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	// lastLines is how much of a crashed container's log is shown.
	lastLines = 10
	// settled is how long a container may run before it is worth asking why it is not ready.
	settled = 3 * time.Second
)

// selector finds the pods of an app: by its label or, of an adopted workload, by the workload's own selector.
func (c *clients) selector(ctx context.Context, app *v1alpha1.HTTPApp) (string, error) {
	if app.Spec.WorkloadRef == nil {
		return labels.Set{v1alpha1.AppLabel: app.Name}.String(), nil
	}
	scale, err := c.apps.HTTPApps(app.Namespace).GetScale(ctx, app.Name, metav1.GetOptions{})
	if err != nil {
		return "", goneIf(app, err)
	}
	if scale.Status.Selector == "" {
		return "", fmt.Errorf("the %s %s does not say which its pods are", app.Spec.WorkloadRef.Kind, app.Spec.WorkloadRef.Name)
	}
	return scale.Status.Selector, nil
}

// diagnosis says what the pods of an app that does not come up have to say, each on a line of its own, or nothing.
func (w *waiting) diagnosis(app *v1alpha1.HTTPApp) string {
	// The wait may have ended because its time was up.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var said strings.Builder
	for _, line := range w.clients.trouble(ctx, app, w.now()) {
		said.WriteString("\n" + line)
	}
	return said.String()
}

// trouble is what keeps the app's pods from being ready beyond what its conditions say: the last lines of one that crashed, what a
// probe found at a port. Not being allowed to see pods is no reason to say nothing else.
func (c *clients) trouble(ctx context.Context, app *v1alpha1.HTTPApp, now time.Time) (said []string) {
	selector, err := c.selector(ctx, app)
	if err != nil {
		return nil
	}
	pods, err := c.kubernetes.CoreV1().Pods(app.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector, Limit: 50})
	if err != nil {
		return nil
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil {
			continue
		}
		for _, status := range pod.Status.ContainerStatuses {
			switch {
			case crashed(status):
				return append(said, c.lastWords(ctx, &pod, status)...)
			case status.State.Running != nil && !status.Ready && now.Sub(status.State.Running.StartedAt.Time) > settled:
				if found := c.probeFailure(ctx, &pod, status.Name); found != "" {
					return append(said, found)
				}
			}
		}
	}
	return said
}

func crashed(status corev1.ContainerStatus) bool {
	last := status.LastTerminationState.Terminated
	if status.State.Terminated != nil {
		last = status.State.Terminated
	}
	return !status.Ready && last != nil && last.ExitCode != 0
}

// lastWords are the last lines of a container that crashed.
func (c *clients) lastWords(ctx context.Context, pod *corev1.Pod, status corev1.ContainerStatus) []string {
	stream, err := c.kubernetes.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: status.Name, Previous: status.State.Terminated == nil, TailLines: ptr.To[int64](lastLines), LimitBytes: ptr.To[int64](16 << 10),
	}).Stream(ctx)
	if err != nil {
		return nil
	}
	defer stream.Close() //nolint:errcheck // it was read
	said := []string{fmt.Sprintf("The last lines of container %s of pod %s:", status.Name, pod.Name)}
	lines := bufio.NewScanner(io.LimitReader(stream, 16<<10))
	for lines.Scan() {
		said = append(said, "  "+lines.Text())
	}
	if len(said) == 1 {
		return []string{fmt.Sprintf("Container %s of pod %s ended without a word.", status.Name, pod.Name)}
	}
	return said
}

// probeFailure is what the kubelet found when it last asked the container.
func (c *clients) probeFailure(ctx context.Context, pod *corev1.Pod, container string) string {
	events, err := c.kubernetes.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.uid": string(pod.UID), "reason": "Unhealthy"}.String(), Limit: 20,
	})
	if err != nil || len(events.Items) == 0 {
		return ""
	}
	latest := events.Items[0]
	for _, e := range events.Items {
		if when(e).After(when(latest)) {
			latest = e
		}
	}
	said := fmt.Sprintf("Container %s of pod %s: %s", container, pod.Name, strings.TrimSpace(latest.Message))
	if strings.Contains(latest.Message, "connection refused") {
		said += "\nNobody listens on that port: say with --port where the app listens, or let it listen on all addresses (0.0.0.0)"
	}
	return said
}
