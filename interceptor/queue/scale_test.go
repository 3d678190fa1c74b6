package queue

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
)

// used is how much CPU time this process has taken: another's does not count, however busy the machine is.
func used(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A collector that follows a hundred interceptors, each of which has had requests of each of ten thousand apps, has a million counts to
// keep. Then each interceptor gets fifty requests a second, for seventy seconds, told each five: longer than anything of the past is kept.
func TestAHundredInterceptorsWithTenThousandAppsAreBounded(t *testing.T) {
	interceptors, apps, each, steps := 100, 10_000, 250, 14
	if testing.Short() || raceDetector {
		interceptors, apps, each = 10, 1000, 100
	}
	const step = 5 * time.Second
	pairs := uint64(interceptors * apps)
	now := time.Unix(1_800_000_000, 0)
	names := make([]types.NamespacedName, apps)
	for i := range names {
		names[i] = types.NamespacedName{Namespace: "default", Name: fmt.Sprintf("app-%d", i)}
	}
	addresses := map[string]bool{}
	for i := range interceptors {
		addresses[fmt.Sprint("10.0.0.", i)] = true
	}
	requests := make([]int64, pairs)
	integral := make([]float64, pairs)
	sequence := map[string]uint64{}
	// told is an update as it arrives: what it is made of is its own.
	told := func(address string, i int, snapshot bool, which func(yield func(int))) (*wire.Update, int) {
		sequence[address]++
		u := &wire.Update{Epoch: address, Sequence: sequence[address], Snapshot: snapshot, SampledAt: timestamppb.New(now)}
		which(func(a int) {
			n := i*apps + a
			requests[n]++
			integral[n] += 0.1
			u.Apps = append(u.Apps, &wire.App{
				Namespace: names[a].Namespace, Name: names[a].Name, Uid: "2b7cbb2e-1a66-4a4e-a7a7-000000000000", Pending: 1, Requests: requests[n],
				ConcurrencySeconds: integral[n], LastRequestAt: timestamppb.New(now),
			})
		})
		raw, err := proto.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		arrived := &wire.Update{}
		if err := proto.Unmarshal(raw, arrived); err != nil {
			t.Fatal(err)
		}
		return arrived, len(raw)
	}

	before := heap()
	l := newLedger(30 * time.Second)
	l.list(addresses, now)
	var spent time.Duration
	snapshots, deltas := 0, 0
	update := func(address string, u *wire.Update) {
		began := used(t)
		l.update(address, u, now)
		spent += used(t) - began
	}
	i := 0
	for address := range addresses {
		u, size := told(address, i, true, func(yield func(int)) {
			for a := range apps {
				yield(a)
			}
		})
		update(address, u)
		snapshots, i = snapshots+size, i+1
	}
	idle := heap() - before
	t.Logf("%d counts of %d interceptors: %d MB, %d bytes each; snapshots of %d kB took %v of CPU", pairs, interceptors, idle>>20, idle/pairs, snapshots/interceptors>>10, spent.Round(time.Millisecond))

	spent = 0
	var ticks time.Duration
	for n := range steps {
		now = now.Add(step)
		i := 0
		for address := range addresses {
			u, size := told(address, i, false, func(yield func(int)) {
				for m := range each {
					yield((n*each*7 + m*13 + i) % apps)
				}
			})
			update(address, u)
			deltas, i = deltas+size, i+1
		}
		began := used(t)
		l.tick(now)
		ticks += used(t) - began
	}
	busy := heap() - before
	seconds := steps * int(step/time.Second)
	perSecond := interceptors * each * steps / seconds
	t.Logf("with %d changes a second: %d MB; %v of CPU and %d kB of messages a second, and %v for each look at what has become old", perSecond, busy>>20,
		(spent / time.Duration(seconds)).Round(time.Millisecond), deltas/seconds>>10, (ticks / time.Duration(steps)).Round(time.Millisecond))

	began := used(t)
	one := l.sample(names[1], time.Minute, now)
	t.Logf("a sample of one app took %v", (used(t) - began).Round(time.Microsecond))
	began = used(t)
	all := l.sample(AllApps, 30*time.Second, now)
	t.Logf("a sample of all apps took %v", (used(t) - began).Round(time.Microsecond))
	if one.Reporting != interceptors || all.Pending != int64(pairs) || all.InFlight != 0 {
		t.Errorf("%d report, and %d requests wait", one.Reporting, all.Pending)
	}
	if idle/pairs > 800 {
		t.Errorf("a count takes %d bytes while nothing happens", idle/pairs)
	}
	// Each change is two points of the past at most, for as long as the past is kept.
	if most := idle + uint64(perSecond)*uint64(minRetention/time.Second)*2*100; busy > most {
		t.Errorf("%d MB, and not at most %d MB", busy>>20, most>>20)
	}
	runtime.KeepAlive(l)

	// When the requests end, their past goes.
	for range int(minRetention/step) + 1 {
		now = now.Add(step)
		for address := range addresses {
			u, _ := told(address, 0, false, func(func(int)) {})
			l.update(address, u, now)
		}
		l.tick(now)
	}
	l.forget(now)
	if after := heap() - before; after > idle+idle/2 {
		t.Errorf("a minute later there are still %d MB, and not the %d MB of before", after>>20, idle>>20)
	} else {
		t.Logf("a minute later: %d MB", after>>20)
	}
	if len(l.lively) > 0 {
		t.Errorf("%d apps are still told of", len(l.lively))
	}
	runtime.KeepAlive(l)
}
