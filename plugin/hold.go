package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// heldAnnotation is on an app that wake or sleep holds, for whoever looks at it, and for the next one to let it go if the plugin that
// holds it did not come to that.
const heldAnnotation = v1alpha1.GroupName + "/held"

// hold is what was changed for a while, and what it was before.
type hold struct {
	By    string    `json:"by"` // wake or sleep
	Until time.Time `json:"until"`
	// MinReplicas and Paused are what they were.
	MinReplicas *int32 `json:"minReplicas,omitempty"`
	Paused      bool   `json:"paused,omitempty"`
}

func holdOf(app *v1alpha1.HTTPApp) *hold {
	var h hold
	if text, there := app.Annotations[heldAnnotation]; !there || json.Unmarshal([]byte(text), &h) != nil {
		return nil
	}
	return &h
}

// begin changes an app for a while, on top of what it was before any other hold.
func (h hold) begin(app *v1alpha1.HTTPApp) error {
	release(app)
	h.MinReplicas, h.Paused = app.Spec.Scaling.MinReplicas, app.Spec.Scaling.Paused
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if app.Annotations == nil {
		app.Annotations = map[string]string{}
	}
	app.Annotations[heldAnnotation] = string(text)
	if h.By == "sleep" {
		app.Spec.Scaling.Paused = true
		return nil
	}
	app.Spec.Scaling.Paused = false
	app.Spec.Scaling.MinReplicas = ptr.To(max(1, ptr.Deref(h.MinReplicas, 0)))
	return nil
}

// release makes an app what it was before it was held.
func release(app *v1alpha1.HTTPApp) {
	h := holdOf(app)
	if h == nil {
		return
	}
	delete(app.Annotations, heldAnnotation)
	if h.By == "sleep" {
		app.Spec.Scaling.Paused = h.Paused
		return
	}
	app.Spec.Scaling.Paused = h.Paused
	app.Spec.Scaling.MinReplicas = h.MinReplicas
}

// keep holds an app until the time is over or the user has enough of it, and lets it go then.
func (s *session) keep(ctx context.Context, c *clients, name string, until time.Time, progress *progress) error {
	progress.say("held until %s; Ctrl-C lets it go", until.Format(time.TimeOnly))
	timer := time.NewTimer(until.Sub(s.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	// Also when it was interrupted.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	_, _, err := c.change(ending, name, cmdutil.DryRunNone, func(app *v1alpha1.HTTPApp) error {
		release(app)
		return nil
	})
	if err != nil {
		return fmt.Errorf("app %s is still held; %s resume %s lets it go: %w", name, s.calledAs, name, err)
	}
	progress.say("let go; requests decide again")
	return nil
}
