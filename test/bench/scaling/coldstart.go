package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/test/bench/report"
)

const floorPods = "bench=floor"

// coldStarts measures the time from a request for an app at zero to its answer, in turn with the floor: the same workload scaled
// by hand until its pod answers at its address.
func (b *bench) coldStarts(ctx context.Context) error {
	if err := b.deploy(ctx, "cold", atMost(1, "10")); err != nil {
		return err
	}
	if err := b.makeFloor(ctx); err != nil {
		return err
	}
	var ours, floor report.Times
	stages := map[string]report.Times{}
	for round := range b.rounds + 1 {
		if err := b.sleeps(ctx, "cold", podsOf("cold")); err != nil {
			return err
		}
		sent := time.Now()
		header, err := b.get(ctx, "cold", "/")
		if err != nil {
			return err
		}
		took := time.Since(sent)
		took2, err := b.floor(ctx)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // the first pods of the node
		}
		ours, floor = append(ours, took), append(floor, took2)
		if max(took, took2) > time.Second {
			fmt.Fprintf(os.Stderr, "  at %s: %v with %s; the floor then: %v\n", sent.Format(time.StampMilli), took, header.Get("X-KedaHTTP-Cold-Start"), took2)
		}
		start, err := b.told(ctx, "cold", sent)
		if err != nil {
			return err
		}
		for _, stage := range start.Stages {
			stages[stage.Name] = append(stages[stage.Name], stage.After.Duration)
		}
	}
	for _, figure := range []struct {
		name        string
		value, goal float64
	}{
		{"coldstart-p50", ours.Quantile(.5), 700},
		{"coldstart-p95", ours.Quantile(.95), 1000},
		{"coldstart-above-floor-p50", ours.Quantile(.5) - floor.Quantile(.5), 100},
	} {
		if err := b.report.AtMost(1, figure.name, "ms", figure.value, theGoal, figure.goal); err != nil {
			return err
		}
	}
	if err := b.report.AtMost(0, "coldstart-p50, beside the floor", "ms", ours.Quantile(.5), "coldstart-floor-p50", floor.Quantile(.5)); err != nil {
		return err
	}
	if err := b.report.AtMost(0, "coldstart-floor-p50", "ms", floor.Quantile(.5), "coldstart-p50", ours.Quantile(.5)); err != nil {
		return err
	}
	if err := b.report.AtMost(0, "coldstart-p95, beside the floor", "ms", ours.Quantile(.95), "coldstart-floor-p95", floor.Quantile(.95)); err != nil {
		return err
	}
	all := []string{"decided", "created", "scheduled", "address", "probe or ready", "first-byte"}
	missing := len(all) * b.rounds
	for _, name := range all {
		var times report.Times
		for one := range strings.SplitSeq(name, " or ") {
			times = append(times, stages[one]...)
		}
		missing -= len(times)
		if len(times) == 0 {
			continue
		}
		what := fmt.Sprintf("coldstart-stage-%s-p50, of %d", strings.ReplaceAll(name, " ", "-"), len(times))
		if err := b.report.AtMost(0, what, "ms", times.Quantile(.5), "coldstart-p50", ours.Quantile(.5)); err != nil {
			return err
		}
	}
	return b.report.None("coldstart-stages-missing", "stages", float64(missing), "those of all starts", float64(len(all)*b.rounds))
}

// told is the app's last cold start as its status tells of it, once that is one since the given time.
func (b *bench) told(ctx context.Context, name string, since time.Time) (start *v1alpha1.CompleteColdStart, err error) {
	err = b.until(ctx, name+"'s status tells of its cold start", func(ctx context.Context) (bool, error) {
		app, err := b.apps.AppsV1alpha1().HTTPApps(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil || app.Status.Traffic == nil {
			return false, nil
		}
		start = app.Status.Traffic.LastColdStart
		return start != nil && start.Time.After(since), nil
	})
	return start, err
}

// makeFloor makes the workload that is scaled by hand, if it is not there.
func (b *bench) makeFloor(ctx context.Context) error {
	return b.makeWorkload(ctx, "floor", map[string]string{"bench": "floor"})
}

func (b *bench) makeWorkload(ctx context.Context, name string, labels map[string]string) error {
	t := template()
	t.Labels = labels
	_, err := b.client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: t},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// floor scales a workload from zero to one and measures until its pod answers.
func (b *bench) floor(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := b.sleeps(ctx, "floor", floorPods); err != nil {
		return 0, err
	}
	watcher, err := b.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: floorPods})
	if err != nil {
		return 0, err
	}
	defer watcher.Stop()
	began := time.Now()
	if err := b.scale(ctx, "floor", 1); err != nil {
		return 0, err
	}
	address := ""
	for address == "" {
		e, ok := <-watcher.ResultChan()
		if !ok {
			return 0, fmt.Errorf("the watch of the pods ended: %w", ctx.Err())
		}
		if pod, ok := e.Object.(*corev1.Pod); ok {
			address = pod.Status.PodIP
		}
	}
	if err := answers(ctx, address); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, b.scale(ctx, "floor", 0)
}

// answers waits until a pod answers at its address.
func answers(ctx context.Context, address string) error {
	direct := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil {
		res, err := direct.Get("http://" + net.JoinHostPort(address, "8080") + "/")
		if err != nil {
			<-time.After(2 * time.Millisecond)
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return nil
		}
	}
	return ctx.Err()
}

func (b *bench) scale(ctx context.Context, deployment string, replicas int32) error {
	_, err := b.client.AppsV1().Deployments(namespace).UpdateScale(ctx, deployment, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deployment}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas},
	}, metav1.UpdateOptions{})
	return err
}
