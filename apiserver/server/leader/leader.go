// Package leader lets one replica at a time do what must be done once.
package leader

import (
	"context"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

const (
	// A leader that is gone without a word is followed after leaseFor. It gives up itself when it could not renew for
	// renewWithin, which is earlier, so that there are never two.
	leaseFor    = 15 * time.Second
	renewWithin = 10 * time.Second
	tryEvery    = 2 * time.Second
	// handOver bounds how long a Lease is kept after its context ended, for what was led to end.
	handOver = 5 * time.Second
)

// Election is a Lease that replicas compete for.
type Election struct {
	Client          coordinationv1.LeasesGetter
	Namespace, Name string
	// Identity is this replica's; see Identity.
	Identity string
}

// Identity returns a name for this process that no other has, not even one of the same pod before it.
func Identity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("an identity for the leader election: %w", err)
	}
	return host + "_" + string(uuid.NewUUID()), nil
}

// Run runs lead whenever this replica leads, until the context ends. The context that lead gets ends with the leadership, and
// lead must return then: the next leader begins when it has, or when the Lease has run out. A lead that returns earlier gives
// the leadership up.
func (e Election) Run(ctx context.Context, lead func(context.Context)) error {
	for {
		if err := e.once(ctx, lead); err != nil {
			return err
		}
		// Whoever gave up lets the others try first.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tryEvery):
		}
	}
}

// once competes, leads, and returns when it leads no more.
func (e Election) once(ctx context.Context, lead func(context.Context)) error {
	// The election outlives the context until lead has returned: it hands the Lease over only when nobody works under it.
	election, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	led := make(chan struct{})
	started := make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: e.Name,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name},
			Client:     e.Client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.Identity},
		},
		LeaseDuration:   leaseFor,
		RenewDeadline:   renewWithin,
		RetryPeriod:     tryEvery,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				defer end()
				defer close(led)
				close(started)
				klog.InfoS("This replica leads", "lease", klog.KRef(e.Namespace, e.Name), "identity", e.Identity)
				leading, cancel := context.WithCancel(leading)
				defer cancel()
				stop := context.AfterFunc(ctx, cancel)
				defer stop()
				lead(leading)
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("the leader election of %s: %w", e.Name, err)
	}
	release := context.AfterFunc(ctx, func() {
		select {
		case <-started:
			select {
			case <-led:
			case <-time.After(handOver):
			}
		default:
		}
		end()
	})
	defer release()
	elector.Run(election)
	select {
	case <-started:
		<-led
		klog.InfoS("This replica leads no more", "lease", klog.KRef(e.Namespace, e.Name))
	default:
	}
	return nil
}
