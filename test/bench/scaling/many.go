package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

const many = 20

// manyColdStarts measures until the last of many apps that are woken at once has answered, beside as many workloads that are scaled by hand at
// once: what a node takes to start so many pods.
func (b *bench) manyColdStarts(ctx context.Context) error {
	for n := range many {
		if err := b.deploy(ctx, fmt.Sprint("many-", n), atMost(1, "10")); err != nil {
			return err
		}
		name := fmt.Sprint("many-floor-", n)
		if err := b.makeWorkload(ctx, name, map[string]string{"bench": "many", "workload": name}); err != nil {
			return err
		}
	}
	for n := range many {
		name := fmt.Sprint("many-", n)
		if err := b.sleeps(ctx, name, podsOf(name)); err != nil {
			return err
		}
	}
	byHand, err := b.manyFloor(ctx)
	if err != nil {
		return err
	}
	ours, err := atOnce(many, func(n int) error {
		_, err := b.get(ctx, fmt.Sprint("many-", n), "/")
		return err
	})
	if err != nil {
		return err
	}
	if err := b.report.AtMost(0, "wake of 20 apps at once, the first answer", "ms", ours.Quantile(0), "20 scaled by hand", byHand.Quantile(0)); err != nil {
		return err
	}
	if err := b.report.AtMost(0, "wake of 20 apps at once, the median answer", "ms", ours.Quantile(.5), "20 scaled by hand", byHand.Quantile(.5)); err != nil {
		return err
	}
	return b.report.AtMost(1.15, "wake of 20 apps at once, the last answer", "ms", ours.Quantile(1), "20 scaled by hand", byHand.Quantile(1))
}

// atOnce does something so many times at once, and returns how long each took.
func atOnce(times int, do func(n int) error) (report.Times, error) {
	var mu sync.Mutex
	var took report.Times
	var failed error
	var wg sync.WaitGroup
	for n := range times {
		wg.Go(func() {
			began := time.Now()
			err := do(n)
			mu.Lock()
			defer mu.Unlock()
			took, failed = append(took, time.Since(began)), errors.Join(failed, err)
		})
	}
	wg.Wait()
	return took, failed
}

// manyFloor scales the workloads up and measures until each one's pod answers, and takes them away again.
func (b *bench) manyFloor(ctx context.Context) (report.Times, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	watcher, err := b.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "bench=many"})
	if err != nil {
		return nil, err
	}
	defer watcher.Stop()
	addresses := make([]chan string, many)
	at := map[string]chan string{}
	for n := range addresses {
		addresses[n] = make(chan string, 1)
		at[fmt.Sprint("many-floor-", n)] = addresses[n]
	}
	go func() {
		for e := range watcher.ResultChan() {
			if pod, ok := e.Object.(*corev1.Pod); ok && pod.Status.PodIP != "" {
				select {
				case at[pod.Labels["workload"]] <- pod.Status.PodIP:
				default: // it is known
				}
			}
		}
	}()
	took, err := atOnce(many, func(n int) error {
		if err := b.scale(ctx, fmt.Sprint("many-floor-", n), 1); err != nil {
			return err
		}
		select {
		case address := <-addresses[n]:
			return answers(ctx, address)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return nil, err
	}
	for n := range many {
		if err := b.client.AppsV1().Deployments(namespace).Delete(ctx, fmt.Sprint("many-floor-", n), metav1.DeleteOptions{}); err != nil {
			return nil, err
		}
	}
	return took, b.until(ctx, "the workloads are gone", func(ctx context.Context) (bool, error) {
		pods, err := b.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "bench=many"})
		return err == nil && len(pods.Items) == 0, nil
	})
}
