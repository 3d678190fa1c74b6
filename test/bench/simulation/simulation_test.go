package main

import (
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// The figures are the same in every run: there is no clock but the trace's, and no chance but the seed's.
func TestFewerRequestsWaitThanWithAnyOtherAndLittleMorePodsRun(t *testing.T) {
	for seed := range uint64(3) {
		ours, plain, knatives := compare(seed)
		if ours.unserved > 0.1*plain.unserved || ours.podSeconds > 0.75*plain.podSeconds {
			t.Errorf("seed %d: beside a plain HPA requests waited %.0f s and not %.0f s, and pods ran for %.0f s and not %.0f s", seed, ours.unserved, plain.unserved, ours.podSeconds, plain.podSeconds)
		}
		if ours.unserved > 0.5*knatives.unserved || ours.podSeconds > 1.15*knatives.podSeconds {
			t.Errorf("seed %d: beside Knative requests waited %.0f s and not %.0f s, and pods ran for %.0f s and not %.0f s", seed, ours.unserved, knatives.unserved, ours.podSeconds, knatives.podSeconds)
		}
		if ours.worst > 2*start {
			t.Errorf("seed %d: a request waited for %v, longer than it takes to notice it and start a pod", seed, ours.worst)
		}
		if !slices.Contains(ours.replicas, 0) {
			t.Errorf("seed %d: the app never sleeps", seed)
		}
	}
}

func TestAllGetTheSameRequests(t *testing.T) {
	requests := trace(1)
	work := 0.0
	for i, r := range requests {
		work += r.takes.Seconds()
		if i > 0 && r.at < requests[i-1].at {
			t.Fatal("the requests are out of order")
		}
	}
	ours, plain, knatives := compare(1)
	for _, c := range []contender{ours, plain, knatives} {
		sum := 0.0
		for _, d := range c.demand {
			sum += d
		}
		// What is not done at the end is work that is not in it.
		if rest := sum - c.unserved - work; rest > 1e-3 || rest < -1 {
			t.Errorf("%s: requests were there for %.1f s, waited %.1f s of it and called for %.1f s of work", c.name, sum, c.unserved, work)
		}
	}
}

func TestTheHPADoesWhatIsPublished(t *testing.T) {
	h := hpa{least: 1, stable: hpaStable}
	now, replicas := time.Duration(0), 1
	for _, step := range []struct {
		total float64
		want  int
	}{
		{7, 1}, {7.6, 1}, {8, 2}, // within the tolerance of 0.1, and not
		{200, 6}, {200, 12}, {200, 24}, {200, 29}, // four, or twice as many
		{70, 29}, {140, 29}, // not within five minutes
	} {
		now += hpaSync
		if replicas = h.decide(now, replicas, step.total); replicas != step.want {
			t.Fatalf("at %v a total of %v makes %d replicas, not %d", now, step.total, replicas, step.want)
		}
	}
	now += hpaStable - hpaSync
	if replicas = h.decide(now, replicas, 70); replicas != 20 {
		t.Errorf("after five minutes there are %d replicas, not as many as were called for meanwhile", replicas)
	}
}

func TestKnativesAutoscalerDoesWhatIsPublished(t *testing.T) {
	k := &knative{}
	w := &world{scaler: k}
	w.waiting = make([]*open, 200)
	k.requested(w)
	if w.replicas != 1 {
		t.Fatalf("a request wakes to %d replicas", w.replicas)
	}
	second := func(requests int) {
		w.waiting = make([]*open, requests)
		w.now += time.Second
		w.integral += float64(requests)
		k.looks(w)
	}
	second(200)
	second(200)
	if w.replicas != 29 || !k.panicking {
		t.Errorf("after two seconds of 200 requests there are %d replicas, panicking: %v", w.replicas, k.panicking)
	}
	for range 30 {
		second(1)
	}
	if w.replicas != 29 {
		t.Errorf("in panic there are %d replicas", w.replicas)
	}
	for range 40 {
		second(1)
	}
	if k.panicking || w.replicas > 5 {
		t.Errorf("a minute later there are %d replicas, panicking: %v", w.replicas, k.panicking)
	}
	for range 100 {
		second(0)
	}
	if w.replicas != 0 {
		t.Errorf("without requests there are %d replicas", w.replicas)
	}
}

func TestTheFiguresTheTableAndThePictureAreWritten(t *testing.T) {
	out := filepath.Join(t.TempDir(), "simulation.jsonl")
	if err := measure(1, out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"simulation.jsonl", "simulation.csv"} {
		if info, err := os.Stat(filepath.Join(filepath.Dir(out), name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	file, err := os.Open(filepath.Join(filepath.Dir(out), "simulation.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := png.Decode(file); err != nil {
		t.Error(err)
	}
}
