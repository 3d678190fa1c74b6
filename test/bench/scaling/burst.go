package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/test/bench/report"
)

const (
	burstClients = 80
	burstPods    = 8
)

// bursts measures how soon an app at zero has all its pods when many requests come at once, the same with KEDA alone, while our API
// servers are away, and how soon the pods are ready when they are asked for by hand.
func (b *bench) bursts(ctx context.Context) error {
	if err := b.deploy(ctx, "burst", atMost(burstPods, "10")); err != nil {
		return err
	}
	ours, err := b.burst(ctx)
	if err != nil {
		return err
	}
	byHand, err := b.burstFloor(ctx)
	if err != nil {
		return err
	}
	d, err := b.client.AppsV1().Deployments(system).Get(ctx, "kedahttp-apiserver", metav1.GetOptions{})
	if err != nil {
		return err
	}
	replicas := ptr.Deref(d.Spec.Replicas, 1)
	if err := b.servers(ctx, 0); err != nil {
		return err
	}
	alone, err := b.burst(ctx)
	if err := errors.Join(err, b.servers(context.WithoutCancel(ctx), replicas)); err != nil {
		return err
	}
	if err := b.report.AtMost(1, "burst-ready", "ms", ours, theGoal, 3000); err != nil {
		return err
	}
	if err := b.report.AtMost(0, "burst-ready, beside the same scaled by hand", "ms", ours, "burst-floor", byHand); err != nil {
		return err
	}
	if err := b.report.AtMost(0, "burst-ready, beside KEDA alone", "ms", ours, "burst-ready-keda-only", alone); err != nil {
		return err
	}
	return b.report.AtMost(0, "burst-ready-keda-only", "ms", alone, "burst-ready", ours)
}

// servers has so many replicas of our API server run.
func (b *bench) servers(ctx context.Context, replicas int32) error {
	deployments := b.client.AppsV1().Deployments(system)
	if _, err := deployments.UpdateScale(ctx, "kedahttp-apiserver", &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "kedahttp-apiserver"}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas},
	}, metav1.UpdateOptions{}); err != nil {
		return err
	}
	return b.until(ctx, fmt.Sprintf("%d API servers run", replicas), func(ctx context.Context) (bool, error) {
		d, err := deployments.Get(ctx, "kedahttp-apiserver", metav1.GetOptions{})
		if err != nil || d.Status.ReadyReplicas != replicas {
			return false, nil
		}
		pods, err := b.client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
		return err == nil && len(pods.Items) == int(replicas), nil
	})
}

// burst keeps so many requests of a second each going until all pods are ready, and returns after how many milliseconds they were.
func (b *bench) burst(ctx context.Context) (float64, error) {
	if err := b.sleeps(ctx, "burst", podsOf("burst")); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	ready, err := b.ready(ctx, "burst", burstPods)
	if err != nil {
		return 0, err
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, burstClients)
	var wg sync.WaitGroup
	began := time.Now()
	for range burstClients {
		wg.Go(func() {
			for sending.Err() == nil {
				// What was sent is answered: requests that are cut off would say nothing.
				if _, err := b.get(ctx, "burst", "/?delay=1s"); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	var took time.Duration
	select {
	case at := <-ready:
		took = at.Sub(began)
	case err = <-failed:
	case <-ctx.Done():
		err = fmt.Errorf("not all of %d pods are ready: %w", burstPods, ctx.Err())
	}
	stop()
	wg.Wait()
	if err == nil && len(failed) > 0 {
		err = <-failed
	}
	return float64(took) / float64(time.Millisecond), err
}

// burstFloor scales a workload from zero to all pods and returns after how many milliseconds they are ready.
func (b *bench) burstFloor(ctx context.Context) (float64, error) {
	if err := b.makeFloor(ctx); err != nil {
		return 0, err
	}
	if err := b.sleeps(ctx, "floor", floorPods); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	ready, err := b.ready(ctx, "floor", burstPods)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := b.scale(ctx, "floor", burstPods); err != nil {
		return 0, err
	}
	select {
	case at := <-ready:
		return float64(at.Sub(began)) / float64(time.Millisecond), b.scale(ctx, "floor", 0)
	case <-ctx.Done():
		return 0, fmt.Errorf("the pods scaled by hand are not ready: %w", ctx.Err())
	}
}

// push measures how long after a request was sent KEDA is told, by push, that its app is active.
func (b *bench) push(ctx context.Context) error {
	scaling := atMost(1, "10")
	scaling.MinReplicas = ptr.To[int32](1)
	scaling.Autoscaler = v1alpha1.AutoscalerNone
	if err := b.deploy(ctx, "pushed", scaling); err != nil {
		return err
	}
	if _, err := b.get(ctx, "pushed", "/"); err != nil {
		return err
	}
	service, err := b.client.CoreV1().Services(system).Get(ctx, "kedahttp-scaler", metav1.GetOptions{})
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(fmt.Sprintf("%s:%d", service.Spec.ClusterIP, service.Spec.Ports[0].Port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is written on it
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := externalscaler.NewExternalScalerClient(conn).StreamIsActive(ctx, &externalscaler.ScaledObjectRef{
		Namespace: namespace, Name: "pushed", ScalerMetadata: map[string]string{"httpApp": "pushed", "activeFor": "0s"},
	})
	if err != nil {
		return err
	}
	told := make(chan time.Time, 1000)
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				close(told)
				return
			}
			told <- time.Now()
		}
	}()
	var delays report.Times
	for range 200 {
		if err := b.until(ctx, "the app is idle", func(ctx context.Context) (bool, error) {
			app, err := b.apps.AppsV1alpha1().HTTPApps(namespace).Get(ctx, "pushed", metav1.GetOptions{})
			return err == nil && app.Status.Traffic != nil && app.Status.Traffic.Pending+app.Status.Traffic.InFlight == 0, nil
		}); err != nil {
			return err
		}
		for len(told) > 0 {
			<-told
		}
		sent := time.Now()
		answered := make(chan error, 1)
		go func() {
			_, err := b.get(ctx, "pushed", "/?delay=100ms")
			answered <- err
		}()
		select {
		case at, open := <-told:
			if !open {
				return errors.New("the scaler ended its stream")
			}
			delays = append(delays, at.Sub(sent))
		case <-time.After(10 * time.Second):
			return errors.New("KEDA would not have been told")
		}
		if err := <-answered; err != nil {
			return err
		}
	}
	if err := b.report.AtMost(0, "request to push to KEDA, median of 200", "ms", delays.Quantile(.5), theGoal, 50); err != nil {
		return err
	}
	return b.report.AtMost(1, "request to push to KEDA, p99 of 200", "ms", delays.Quantile(.99), theGoal, 50)
}
