package coldstart

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
)

// Pods reads a pod.
type Pods func(ctx context.Context, namespace, name string) (*corev1.Pod, error)

const (
	// readTimeout is how long reading a pod may take. The kubelet may know sooner.
	readTimeout = 5 * time.Second
	// A read that failed is repeated after readAgain, then twice as long, up to readSeldom.
	readAgain  = 50 * time.Millisecond
	readSeldom = 2 * time.Second
	// Pods tell their stages in whole seconds. Of a start that has taken tellingAfter already they say something, and the pod is read
	// before it is asked, at most for tellingTimeout; of one of a known template, others are asked at once.
	tellingAfter   = 2 * time.Second
	tellingTimeout = 50 * time.Millisecond
	// suffix is the length of what the API server adds to a generateName.
	suffix = 5
)

// planFor returns what a pod has to be asked, nil when its readiness is for the kubelet to find out or the context ended. A pod
// of the same ReplicaSet as the last is not waited for to be read: it has the same probes.
func (s *Starter) planFor(ctx context.Context, a *address, name string, read chan<- struct{}) *plan {
	s.mu.Lock()
	plan := s.plan
	known := plan != nil && len(name) > suffix && name[:len(name)-suffix] == s.template
	long := s.start != nil && s.clock.Since(s.start.began) >= tellingAfter
	s.mu.Unlock()
	if known && !long {
		go s.tell(a, name, read)
		return plan
	}
	defer close(read)
	if known {
		s.readStages(ctx, a, name, tellingTimeout)
		return plan
	}
	for wait := readAgain; ; wait = min(2*wait, readSeldom) {
		read, cancel := context.WithTimeout(ctx, readTimeout)
		pod, err := s.prober.pods(read, s.namespace, name)
		cancel()
		switch {
		case err == nil:
			s.learn(a, pod)
			plan, err = planOf(pod)
			if err != nil {
				klog.V(2).InfoS("The readiness of a pod is the kubelet's to find out", "pod", klog.KRef(s.namespace, name), "because", err)
				s.leaveToKubelet(a)
				return nil
			}
			s.mu.Lock()
			s.template, s.plan = templateOf(pod), plan
			s.mu.Unlock()
			return plan
		case apierrors.IsNotFound(err):
			s.leaveToKubelet(a)
			return nil
		case ctx.Err() == nil:
			klog.ErrorS(err, "Reading a pod's readiness probe failed; the kubelet is waited for meanwhile", "pod", klog.KRef(s.namespace, name))
		}
		if !s.sleep(ctx, wait) {
			return nil
		}
	}
}

// tell reads when a pod came to be, whatever becomes of the requests that wait for it.
func (s *Starter) tell(a *address, name string, read chan<- struct{}) {
	defer close(read)
	s.readStages(context.Background(), a, name, readTimeout)
}

func (s *Starter) readStages(ctx context.Context, a *address, name string, longest time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if pod, err := s.prober.pods(ctx, s.namespace, name); err == nil {
		s.learn(a, pod)
	}
}

func (s *Starter) leaveToKubelet(a *address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.kubelets = true
	s.ask()
}

// learn takes in when a pod came to be.
func (s *Starter) learn(a *address, pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.created = pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			a.scheduled = c.LastTransitionTime.Time
		}
	}
}

// templateOf is how the names of all pods of a ReplicaSet begin, and of no others, as it has the hash of their template: "" for pods
// of anybody else, whose names say nothing about their template.
func templateOf(pod *corev1.Pod) string {
	hash := pod.Labels["pod-template-hash"]
	prefix, begins := pod.GenerateName, len(pod.Name) == len(pod.GenerateName)+suffix && strings.HasPrefix(pod.Name, pod.GenerateName)
	if hash == "" || !begins || !strings.HasSuffix(prefix, "-"+hash+"-") {
		return ""
	}
	return prefix
}
