package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// progress tells what happens, on change only, with the time since the start.
type progress struct {
	out     io.Writer
	started time.Time
	now     func() time.Time
	last    string
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, started: time.Now(), now: time.Now}
}

func (p *progress) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if line == p.last {
		return
	}
	p.last = line
	fmt.Fprintf(p.out, "%5.1fs  %s\n", p.now().Sub(p.started).Seconds(), line)
}

// waitReady waits until the app is ready as it was just written, and says meanwhile what it waits for.
func (a *apps) waitReady(ctx context.Context, app *v1alpha1.HTTPApp, timeout time.Duration, p *progress) (*v1alpha1.HTTPApp, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := app
	_, err := watchtools.UntilWithSync(limited, a.watcher(app.Name), &v1alpha1.HTTPApp{}, nil, func(event watch.Event) (bool, error) {
		seen, ok := event.Object.(*v1alpha1.HTTPApp)
		if !ok {
			return false, nil
		}
		if event.Type == watch.Deleted || seen.UID != app.UID {
			return false, fmt.Errorf("httpapp %s/%s was deleted while it was waited for", app.Namespace, app.Name)
		}
		last = seen
		ready, why := readiness(seen, app.Generation)
		p.say("%s", why)
		return ready, nil
	})
	switch {
	case err == nil:
		return last, nil
	case ctx.Err() != nil:
		return nil, errors.New("interrupted; the app goes on becoming ready")
	case wait.Interrupted(err):
		_, why := readiness(last, app.Generation)
		return nil, timeoutError(fmt.Errorf("httpapp %s/%s is not ready after %v: %s", app.Namespace, app.Name, timeout, why))
	default:
		return nil, err
	}
}

// readiness says whether the app of a generation is ready and, if not, what it waits for.
func readiness(app *v1alpha1.HTTPApp, generation int64) (ready bool, why string) {
	if app.Status.ObservedGeneration < generation {
		return false, "waiting for the change to be seen"
	}
	if meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) {
		return true, "ready"
	}
	if c := firstFalse(app); c != nil {
		return false, fmt.Sprintf("%s: %s: %s", c.Type, c.Reason, c.Message)
	}
	return false, "waiting for its conditions"
}

// firstFalse is the condition that keeps an app from being ready, the most telling one first.
func firstFalse(app *v1alpha1.HTTPApp) *metav1.Condition {
	for _, kind := range []string{v1alpha1.ConditionRoutesAccepted, v1alpha1.ConditionWorkloadReady, v1alpha1.ConditionScalerReady, v1alpha1.ConditionReady} {
		if c := meta.FindStatusCondition(app.Status.Conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
			return c
		}
	}
	return nil
}
