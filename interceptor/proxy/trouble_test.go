package proxy

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// says gives an app the condition WorkloadReady as the API server would.
func (w *world) says(app *v1alpha1.HTTPApp, status metav1.ConditionStatus, reason string) {
	w.t.Helper()
	app = app.DeepCopy()
	app.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionWorkloadReady, Status: status, Reason: reason, Message: "image secret/thing:1", ObservedGeneration: app.Generation,
	}}
	w.apps.Modify(app)
	w.eventually("the interceptor knows", func() bool {
		t := w.backend(app.Name).Trouble()
		return status != metav1.ConditionFalse && t == nil || t != nil && t.Reason == reason
	})
}

func TestRequestsDoNotWaitForAnAppThatCertainlyCannotStart(t *testing.T) {
	w := newWorld(t)
	shop := w.app("shop")
	refused := func(a answer) {
		t.Helper()
		require.Equal(t, http.StatusServiceUnavailable, a.status)
		require.NotEmpty(t, a.header.Get("Retry-After"))
		require.Contains(t, a.body, "default/shop cannot start: InvalidImageName")
		require.Contains(t, a.body, "kubectl http status -n default shop")
		require.NotContains(t, a.body, "secret", "what runs inside is not for strangers")
	}
	early := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 0)
	w.says(shop, metav1.ConditionFalse, "InvalidImageName")
	refused(await(t, early))
	refused(do(w.request("GET", "shop", "/", nil)))

	w.says(shop, metav1.ConditionUnknown, "Starting")
	waits := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 0)
	w.ready("shop", "", at(w.pod(hello)))
	require.Equal(t, 200, await(t, waits).status)
	w.says(shop, metav1.ConditionFalse, "InvalidImageName")
	require.Equal(t, 200, do(w.request("GET", "shop", "/", nil)).status, "the pods of before serve on")
	w.ready("shop", "")
	w.eventually("no pod is left", func() bool { return w.backend("shop").Pods.Ready() == 0 })
	refused(do(w.request("GET", "shop", "/", nil)))
	w.ready("shop", "", at(w.pod(hello)))
	w.eventually("a pod came up all the same", func() bool { return do(w.request("GET", "shop", "/", nil)).status == 200 })
}

func TestWhoeverWaitedInVainIsToldWhatKeepsTheAppFromStarting(t *testing.T) {
	w := newWorld(t)
	shop := w.app("shop", func(a *v1alpha1.HTTPApp) { a.Spec.Queue.MaxWait = &metav1.Duration{Duration: 100 * time.Millisecond} })
	w.says(shop, metav1.ConditionFalse, "ImagePullBackOff")
	a := do(w.request("GET", "shop", "/", nil))
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Contains(t, a.body, "spec.queue.maxWait allows: ImagePullBackOff; kubectl http status -n default shop says more")
}

func TestRequestsDoNotWaitForAnAppThatTheyDoNotWake(t *testing.T) {
	w := newWorld(t)
	shop := w.app("shop", func(a *v1alpha1.HTTPApp) {
		a.Spec.Scaling.Autoscaler, a.Spec.Scaling.Activation = v1alpha1.AutoscalerNone, v1alpha1.ActivationNever
	})
	early := background(w.request("GET", "shop", "/", nil))
	w.is("shop", 1, 0)
	w.says(shop, metav1.ConditionTrue, v1alpha1.ReasonScaledToZero)
	for _, a := range []answer{await(t, early), do(w.request("GET", "shop", "/", nil))} {
		require.Equal(t, http.StatusServiceUnavailable, a.status)
		require.Empty(t, a.header.Get("Retry-After"), "nobody knows")
		require.Contains(t, a.body, "default/shop has no pod, and requests do not wake it")
	}
	w.says(shop, metav1.ConditionTrue, "Starting")
	var waits <-chan answer
	w.eventually("requests wait when the interceptor has heard", func() bool {
		if waits == nil {
			waits = background(w.request("GET", "shop", "/", nil))
		}
		select {
		case <-waits:
			waits = nil
			return false
		default:
			return w.backend("shop").Line.Len() == 1
		}
	})
	w.ready("shop", "", at(w.pod(hello)))
	require.Equal(t, 200, await(t, waits).status)
}
