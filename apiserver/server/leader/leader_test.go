package leader

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const patience = 30 * time.Second

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("not yet: %s", what)
	}
}

func TestTheNextLeaderBeginsWhenTheLastHasEnded(t *testing.T) {
	client := fake.NewClientset()
	election := func(identity string) Election {
		return Election{Client: client.CoordinationV1(), Namespace: "ns", Name: "lease", Identity: identity}
	}
	first, stop := context.WithCancel(t.Context())
	leads, ends, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	working := true
	go func() {
		ended <- election("a").Run(first, func(ctx context.Context) {
			close(leads)
			<-ctx.Done()
			<-ends
			working = false
		})
	}()
	await(t, "a leads", leads)

	second := make(chan struct{})
	go func() {
		_ = election("b").Run(t.Context(), func(ctx context.Context) {
			if working {
				t.Error("b leads while a works")
			}
			close(second)
			<-ctx.Done()
		})
	}()
	stop()
	close(ends)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	lease, err := client.CoordinationV1().Leases("ns").Get(t.Context(), "lease", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == "a" {
		t.Error("a ended and still holds the Lease")
	}
	await(t, "b leads", second)
}

func TestALeaderThatReturnsGivesUpAndTriesAgain(t *testing.T) {
	client := fake.NewClientset()
	led := make(chan struct{}, 10)
	go func() {
		_ = Election{Client: client.CoordinationV1(), Namespace: "ns", Name: "lease", Identity: "a"}.Run(t.Context(), func(context.Context) {
			led <- struct{}{}
		})
	}()
	await(t, "it leads", led)
	await(t, "it leads again", led)
}

func TestTwoProcessesOfOnePodAreTwo(t *testing.T) {
	a, err := Identity()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := Identity(); a == b {
		t.Errorf("both are %s", a)
	}
}
