package coldstart

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kedahttp/kedahttp/interceptor/endpoints"
)

// most is far above what anything here takes.
const most = 20 * time.Second

// app is a Starter and what it publishes, with a pod that answers when it is told to.
type app struct {
	*testing.T
	*Starter
	at       string
	answers  atomic.Bool
	asked    atomic.Int64
	read     atomic.Int64
	template *corev1.Pod
	fails    atomic.Pointer[error]
	// slow is what a pod's reading waits for.
	slow atomic.Pointer[chan struct{}]

	mu     sync.Mutex
	usable []string
}

func newApp(t *testing.T, clk clock.WithTicker, transport http.RoundTripper) *app {
	a := &app{T: t}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a.asked.Add(1)
		if !a.answers.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	a.at = s.Listener.Addr().String()
	get := httpGet("/", portOf(t, a.at))
	a.template = podOf(container("a", &get))
	a.template.GenerateName = "shop-5f6d-"
	a.template.Labels = map[string]string{"pod-template-hash": "5f6d"}
	pods := func(_ context.Context, namespace, name string) (*corev1.Pod, error) {
		a.read.Add(1)
		if namespace != "default" {
			return nil, errors.New("it is in another namespace")
		}
		if err := a.fails.Load(); err != nil {
			return nil, *err
		}
		if slow := a.slow.Load(); slow != nil {
			<-*slow
		}
		pod := a.template.DeepCopy()
		pod.Name = name
		return pod, nil
	}
	a.Starter = NewStarter("default", NewProber(pods, transport, transport), clk, func(usable []endpoints.Endpoint) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.usable = nil
		for _, e := range usable {
			a.usable = append(a.usable, e.Address)
		}
		slices.Sort(a.usable)
	})
	return a
}

func (a *app) published() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.usable
}

func (a *app) eventually(what string, is func() bool) {
	a.Helper()
	require.Eventually(a, is, most, time.Millisecond, what)
}

func (a *app) is(what string, usable ...string) {
	a.Helper()
	a.eventually(what, func() bool { return slices.Equal(a.published(), usable) })
}

// asking is how many pods are being asked.
func (a *app) asking() (n int) {
	a.Starter.mu.Lock()
	defer a.Starter.mu.Unlock()
	for _, known := range a.known {
		if known.stop != nil {
			n++
		}
	}
	return n
}

func notReady(at, pod string) endpoints.Endpoint { return endpoints.Endpoint{Address: at, Pod: pod} }
func ready(at string) endpoints.Endpoint         { return endpoints.Endpoint{Address: at, Ready: true} }

func TestAPodThatAnswersTakesRequestsBeforeItsSliceSaysSo(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	require.Zero(t, a.asking(), "nobody waits for it")
	start := a.Enter()
	require.NotNil(t, start)
	a.eventually("it is asked again and again", func() bool { return a.asked.Load() > 3 })
	require.Empty(t, a.published())
	a.answers.Store(true)
	a.is("it answered", a.at)
	require.Zero(t, a.asking())
	a.Leave()

	again := a.Enter()
	require.Nil(t, again, "there is a pod")
	a.Leave()
}

func TestNobodyIsAskedWhenNothingWaitsOrThePodIsGoneOrReady(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	fresh := []endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")}
	a.Set(fresh)
	a.Enter()
	a.Enter()
	a.eventually("it is asked", func() bool { return a.asked.Load() > 0 })
	a.Leave()
	require.Equal(t, 1, a.asking(), "one still waits")
	a.Leave()
	require.Zero(t, a.asking())

	a.Enter()
	require.Equal(t, 1, a.asking())
	a.Set(nil)
	require.Zero(t, a.asking())
	a.Set(fresh)
	require.Equal(t, 1, a.asking())
	a.Set([]endpoints.Endpoint{ready(a.at)})
	require.Zero(t, a.asking())
	a.is("the slice says so", a.at)
}

// Whoever waits may leave, and another come, before the asking has begun.
func TestAPodThatIsAskedAnewBeforeItWasAskedIsReadByBoth(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	var reading []chan struct{}
	a.Starter.mu.Lock()
	for range 2 {
		a.waiting = 1
		a.ask()
		reading = append(reading, a.known[a.at].reading)
		a.waiting = 0
		a.ask()
	}
	a.Starter.mu.Unlock()
	for _, read := range reading {
		a.eventually("it is read, or will not be", func() bool {
			select {
			case <-read:
				return true
			default:
				return false
			}
		})
	}
}

func TestAnAddressThatIsNoPodsOrIsKnownToTheKubeletAloneIsNotAsked(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	a.answers.Store(true)
	a.Enter()
	a.Set([]endpoints.Endpoint{notReady(a.at, "")})
	require.Zero(t, a.asking())

	a.template.Spec.Containers[0].StartupProbe = &corev1.Probe{}
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-bbbbb")})
	a.eventually("it was read", func() bool { return a.read.Load() == 1 && a.asking() == 0 })
	gone := error(apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "shop-5f6d-ccccc"))
	a.fails.Store(&gone)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-ccccc")})
	a.eventually("it is gone", func() bool { return a.read.Load() == 2 && a.asking() == 0 })
	require.Empty(t, a.published())
	require.Zero(t, a.asked.Load())
}

func TestAPodThatCannotBeReadIsReadAgain(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	a.answers.Store(true)
	away := errors.New("the API is away")
	a.fails.Store(&away)
	a.Enter()
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	a.eventually("it is read", func() bool { return a.read.Load() > 1 })
	require.Empty(t, a.published())
	a.fails.Store(nil)
	a.is("it answered", a.at)
}

func TestThePodsOfOneTemplateAreAskedWithoutReadingEach(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	a.answers.Store(true)
	a.Enter()
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	a.is("it answered", a.at)
	away := errors.New("the API is away")
	a.fails.Store(&away)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-bbbbb")})
	a.is("the other answered", a.at)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-77aa-bbbbb")})
	a.is("it is not known what one of another template is to be asked")
	a.fails.Store(nil)
	a.is("it is", a.at)
}

func TestTheNameOfAPodSaysWhatItsTemplateIs(t *testing.T) {
	pod := func(name, generate, hash string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, GenerateName: generate, Labels: map[string]string{"pod-template-hash": hash}}}
	}
	require.Equal(t, "shop-5f6d-", templateOf(pod("shop-5f6d-aaaaa", "shop-5f6d-", "5f6d")))
	require.Empty(t, templateOf(pod("shop-0", "shop-", "")), "a StatefulSet's")
	require.Empty(t, templateOf(pod("shop-aaaaa", "shop-", "5f6d")), "a name that was cut off before the hash")
	require.Empty(t, templateOf(pod("other", "shop-5f6d-", "5f6d")))
}

func TestALostReadinessIsForTheKubeletToGiveBack(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	a.answers.Store(true)
	a.Enter()
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	a.is("it answered", a.at)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	require.Equal(t, []string{a.at}, a.published(), "the slice has not said anything yet")
	a.Set([]endpoints.Endpoint{ready(a.at)})
	require.Equal(t, []string{a.at}, a.published())
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	require.Empty(t, a.published(), "the old answer does not count any more")
	require.Zero(t, a.asking())
	a.Set([]endpoints.Endpoint{ready(a.at)})
	require.Equal(t, []string{a.at}, a.published())
	a.Set(nil)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-bbbbb")})
	a.is("another pod of the same address answered", a.at)
}

func TestAnAnswerCountsAsLongAsTheKubeletMayNeed(t *testing.T) {
	for period, want := range map[int32]time.Duration{1: 30 * time.Second, 60: 66 * time.Second} {
		clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
		a := newApp(t, clk, http.DefaultTransport)
		a.template.Spec.Containers[0].ReadinessProbe.PeriodSeconds = period
		a.answers.Store(true)
		a.Enter()
		a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
		a.is("it answered", a.at)
		a.eventually("its time runs", clk.HasWaiters)
		clk.Step(want - time.Millisecond)
		require.Equal(t, []string{a.at}, a.published())
		clk.Step(time.Millisecond)
		a.is("the kubelet has not said so")
		require.Zero(t, a.asking(), "nor does asking again make it so")
		a.Set([]endpoints.Endpoint{ready(a.at)})
		require.Equal(t, []string{a.at}, a.published())
	}
}

// slowLink is a way to a pod on which each round trip takes a while: a request on a new connection takes two.
type slowLink time.Duration

func (l slowLink) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(2 * time.Duration(l)):
		return http.DefaultTransport.RoundTrip(r)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func TestAPodFarAwayIsFound(t *testing.T) {
	for _, link := range []time.Duration{70 * time.Millisecond, 200 * time.Millisecond} {
		a := newApp(t, clock.RealClock{}, slowLink(link))
		a.answers.Store(true)
		a.Enter()
		a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
		a.is("it answered", a.at)
	}
}

func TestOneAddressThatSaysNothingDoesNotDelayTheOthers(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	a.answers.Store(true)
	silent, err := net.Listen("tcp", "127.0.0.2:"+fmt.Sprint(portOf(t, a.at)))
	require.NoError(t, err)
	defer silent.Close() //nolint:errcheck // nobody speaks
	a.Enter()
	a.Set([]endpoints.Endpoint{notReady(silent.Addr().String(), "shop-5f6d-aaaaa"), notReady(a.at, "shop-5f6d-bbbbb")})
	a.is("it answered", a.at)
	require.Equal(t, 1, a.asking(), "somebody waits, so the other is asked on")
	a.Leave()
	require.Zero(t, a.asking())
}

func TestTheStagesOfAColdStart(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 250e6))
	a := newApp(t, clk, http.DefaultTransport)
	a.answers.Store(true)
	a.template.CreationTimestamp = metav1.Unix(1001, 0)
	a.template.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1000, 0)}}
	arrived := clk.Now()
	start := a.Enter()
	clk.Step(time.Second)
	require.Same(t, start, a.Enter(), "it waits for the same")
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	a.is("it answered", a.at)
	clk.Step(50 * time.Millisecond)
	told := make(chan Stages, 1)
	all := func(stages Stages) { told <- stages }
	none := func(Stages) { t.Error("it is not the first response") }
	stages := start.FirstByte(a.at, arrived, all)
	require.Equal(t, "total=1.050, created=0.750, scheduled=0.000, address=1.000, probe=1.000, first-byte=1.050", stages.String())
	require.Equal(t, stages, <-told)
	stages = start.FirstByte(a.at, arrived.Add(time.Second), none)
	require.Equal(t, "total=0.050, created=0.000, scheduled=0.000, address=0.000, probe=0.000, first-byte=0.050", stages.String())
	stages = start.FirstByte("10.0.0.1:80", arrived, none)
	require.Equal(t, "total=1.050, first-byte=1.050", stages.String(), "a pod that is gone already")
	a.Leave()
	a.Leave()

	a.Set(nil)
	other := a.Enter()
	require.NotSame(t, start, other)
	clk.Step(2 * time.Second)
	a.Set([]endpoints.Endpoint{ready("10.0.0.1:80")})
	stages = other.FirstByte("10.0.0.1:80", clk.Now().Add(-3*time.Second), all)
	require.Equal(t, "total=3.000, address=3.000, ready=3.000, first-byte=3.000", stages.String())
	require.Equal(t, stages, <-told)
}

// The cluster's clock, which says when a pod was made, may be wrong by an hour beside that of the machine here.
func TestAClockThatIsAheadAddsNoTimeToAColdStart(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(10000, 0))
	a := newApp(t, clk, http.DefaultTransport)
	a.answers.Store(true)
	a.template.CreationTimestamp = metav1.NewTime(clk.Now().Add(time.Hour))
	a.template.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(clk.Now().Add(time.Hour))}}
	arrived := clk.Now()
	a.Hear(false, clk.Now().Add(time.Hour))
	start := a.Enter()
	clk.Step(time.Second)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	a.is("it answered", a.at)
	told := make(chan Stages, 1)
	stages := start.FirstByte(a.at, arrived, func(stages Stages) { told <- stages })
	require.Equal(t, "total=1.000, address=1.000, probe=1.000, first-byte=1.000", stages.String())
	require.Equal(t, stages, <-told)
}

// The response does not wait for what only tells of it.
func TestWhatIsNotKnownYetWithTheFirstByteIsToldLater(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	a := newApp(t, clk, http.DefaultTransport)
	a.answers.Store(true)
	a.Enter()
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	a.is("it answered, and its template is known", a.at)
	a.Leave()
	a.Set(nil)
	a.Hear(true, time.Time{})

	slow := make(chan struct{})
	a.slow.Store(&slow)
	a.template.CreationTimestamp = metav1.Unix(1000, 0)
	arrived := clk.Now()
	start := a.Enter()
	clk.Step(330 * time.Millisecond)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-bbbbb")})
	a.is("it answered", a.at)
	told := make(chan Stages, 1)
	stages := start.FirstByte(a.at, arrived, func(stages Stages) { told <- stages })
	require.Equal(t, "total=0.330, address=0.330, probe=0.330, first-byte=0.330", stages.String())
	close(slow)
	a.eventually("the app's status is awaited", clk.HasWaiters)
	require.Empty(t, told)
	a.Hear(false, arrived.Add(30*time.Millisecond))
	require.Equal(t, "total=0.330, decided=0.030, created=0.000, address=0.330, probe=0.330, first-byte=0.330", (<-told).String())
}

func TestOfAPodThatWasReadyWhenItWasFirstHeardOfTheStagesAreToldToo(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	a := newApp(t, clk, http.DefaultTransport)
	a.template.CreationTimestamp = metav1.Unix(1001, 0)
	start, arrived := a.Enter(), clk.Now()
	clk.Step(3 * time.Second)
	a.Set([]endpoints.Endpoint{{Address: a.at, Pod: "shop-5f6d-aaaaa", Ready: true}})
	told := make(chan Stages, 1)
	start.FirstByte(a.at, arrived, func(stages Stages) { told <- stages })
	require.Equal(t, "total=3.000, created=1.000, address=3.000, ready=3.000, first-byte=3.000", (<-told).String())
}

func TestAStatusThatSaysNothingIsNotAwaitedForLong(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	a := newApp(t, clk, http.DefaultTransport)
	a.Hear(true, time.Unix(10, 0))
	start := a.Enter()
	a.Set([]endpoints.Endpoint{ready("10.0.0.1:80")})
	told := make(chan Stages, 1)
	start.FirstByte("10.0.0.1:80", clk.Now(), func(stages Stages) { told <- stages })
	a.eventually("it is awaited", clk.HasWaiters)
	clk.Step(statusLag)
	require.Equal(t, "total=0.000, address=0.000, ready=0.000, first-byte=0.000", (<-told).String())
}

func TestAPodIsAskedWhileItsSliceIsHeard(t *testing.T) {
	a := newApp(t, clock.RealClock{}, http.DefaultTransport)
	a.Enter()
	defer a.Leave()
	a.eventually("it is asked again and again, and its slice changes all the time", func() bool {
		a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
		return a.asked.Load() > 5
	})
}

func TestAStartThatTookLongTellsWhenItsPodWasMade(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	a := newApp(t, clk, http.DefaultTransport)
	a.answers.Store(true)
	a.Enter()
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-aaaaa")})
	a.is("it answered", a.at)
	a.Leave()
	a.Set(nil)

	arrived := clk.Now()
	start := a.Enter()
	clk.Step(61 * time.Second)
	a.template.CreationTimestamp = metav1.Unix(1060, 0)
	a.Set([]endpoints.Endpoint{notReady(a.at, "shop-5f6d-bbbbb")})
	a.is("it answered", a.at)
	stages := start.FirstByte(a.at, arrived, func(Stages) {})
	require.Equal(t, "total=61.000, created=60.000, address=61.000, probe=61.000, first-byte=61.000", stages.String())
}
