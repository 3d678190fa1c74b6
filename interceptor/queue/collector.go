package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/interceptor/queue/wire"
)

const (
	defaultGrace = 30 * time.Second
	// countsPort is the port's name in the EndpointSlices of the counts Service.
	countsPort = "counts"
	// An interceptor that does not answer is tried again after retryFirst, then twice as long, up to retryMost.
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
	// hungAfter is how long an open stream may be silent before it is opened anew.
	hungAfter = 10 * time.Second
	// maxUpdate bounds one message: the snapshot of some hundred thousand apps.
	maxUpdate = 64 << 20
)

// CollectorConfig says where the interceptors are.
type CollectorConfig struct {
	// Interceptors lists and watches the EndpointSlices of their counts Service; see SlicesOf.
	Interceptors cache.ListerWatcher
	// Credentials are for the streams; see ClientCredentials.
	Credentials credentials.TransportCredentials
	// Grace is how long the last counts of an interceptor that was lost are used. Default: 30 seconds.
	Grace time.Duration
	// Clock is the time; default: the real one.
	Clock clock.WithTicker
	// Dial opens connections; default: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Collector follows all interceptors and adds their counts up.
type Collector struct {
	config   CollectorConfig
	clock    clock.WithTicker
	informer cache.SharedIndexInformer

	mu        sync.Mutex
	ledger    *ledger
	followers map[string]*follower
	running   bool
	listed    bool
	synced    bool

	subsMu sync.Mutex
	subs   map[*Subscription]struct{}

	wg sync.WaitGroup
}

// follower keeps a stream to one interceptor open.
type follower struct {
	cancel context.CancelFunc
	// hangUp ends the present stream, if any.
	hangUp context.CancelFunc
	listed bool
}

// SlicesOf selects the EndpointSlices of a Service.
func SlicesOf(service string) func(*metav1.ListOptions) {
	selector := labels.Set{discoveryv1.LabelServiceName: service}.String()
	return func(o *metav1.ListOptions) { o.LabelSelector = selector }
}

// NewCollector makes a collector; it collects while Run runs.
func NewCollector(config CollectorConfig) (*Collector, error) {
	switch {
	case config.Interceptors == nil:
		return nil, errors.New("the collector needs to know the interceptors' EndpointSlices")
	case config.Credentials == nil:
		return nil, errors.New("the collector needs credentials")
	}
	if config.Grace <= 0 {
		config.Grace = defaultGrace
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return &Collector{
		config:    config,
		clock:     config.Clock,
		informer:  cache.NewSharedIndexInformer(config.Interceptors, &discoveryv1.EndpointSlice{}, 0, cache.Indexers{}),
		ledger:    newLedger(config.Grace),
		followers: map[string]*follower{},
		subs:      map[*Subscription]struct{}{},
	}, nil
}

// Run follows the interceptors until the context ends. It is called once.
func (c *Collector) Run(ctx context.Context) error {
	defer c.wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return errors.New("the collector runs already")
	}
	c.running = true
	c.mu.Unlock()

	relist := make(chan struct{}, 1)
	poke := func() {
		select {
		case relist <- struct{}{}:
		default:
		}
	}
	if _, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { poke() },
		UpdateFunc: func(_, _ any) { poke() },
		DeleteFunc: func(any) { poke() },
	}); err != nil {
		return fmt.Errorf("watching the interceptors' EndpointSlices: %w", err)
	}
	c.wg.Go(func() { c.informer.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), c.informer.HasSynced) {
		return nil
	}
	poke() // also when there is none
	ticker := c.clock.NewTicker(heartbeat)
	defer ticker.Stop()
	forgotten := c.clock.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-relist:
			c.list(ctx)
		case <-ticker.C():
			now := c.clock.Now()
			c.mu.Lock()
			changed := c.ledger.tick(now)
			if now.Sub(forgotten) >= time.Minute {
				forgotten = now
				c.ledger.forget(now)
			}
			c.hangUpOnSilent(now)
			c.settle(changed)
			c.mu.Unlock()
		}
	}
}

// list compares the interceptors there should be with those followed.
func (c *Collector) list(ctx context.Context) {
	addresses := map[string]bool{}
	for _, obj := range c.informer.GetStore().List() {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			addAddresses(addresses, slice)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.ledger.list(addresses, c.clock.Now())
	for address, f := range c.followers {
		if _, ok := addresses[address]; !ok && f.listed {
			// It may still drain: its stream is followed to the end, and not opened again.
			f.listed = false
			if f.hangUp == nil {
				f.cancel()
				delete(c.followers, address)
			}
		}
	}
	for address := range addresses {
		if f := c.followers[address]; f != nil {
			f.listed = true
			continue
		}
		followCtx, cancel := context.WithCancel(ctx)
		f := &follower{cancel: cancel, listed: true}
		c.followers[address] = f
		c.wg.Go(func() { c.follow(followCtx, address, f) })
	}
	c.listed = true
	c.settle(changed)
}

// addAddresses adds the interceptors of a slice, and whether they serve. The slice says of all that they are ready, as it is to say where
// those are that end.
func addAddresses(addresses map[string]bool, slice *discoveryv1.EndpointSlice) {
	var port *int32
	for _, p := range slice.Ports {
		if p.Port != nil && (port == nil || p.Name != nil && *p.Name == countsPort) {
			port = p.Port
		}
	}
	if port == nil {
		return
	}
	for _, e := range slice.Endpoints {
		// Whether it is ready does not matter: an interceptor that drains, or does not know all routes yet, counts.
		if len(e.Addresses) > 0 {
			serves := ptr.Deref(e.Conditions.Serving, ptr.Deref(e.Conditions.Ready, true)) || ptr.Deref(e.Conditions.Terminating, false)
			addresses[net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*port)))] = serves
		}
	}
}

// follow keeps a stream open until the interceptor is no longer listed.
func (c *Collector) follow(ctx context.Context, address string, f *follower) {
	defer func() {
		f.cancel()
		c.mu.Lock()
		if c.followers[address] == f {
			delete(c.followers, address)
		}
		c.mu.Unlock()
	}()
	conn, err := c.connect(address)
	if err != nil {
		klog.ErrorS(err, "Cannot follow an interceptor", "address", address)
		return
	}
	defer conn.Close() //nolint:errcheck // nothing is written on it
	wait := retryFirst
	for ctx.Err() == nil {
		snapshot, err := c.stream(ctx, conn, address, f)
		if snapshot {
			wait = retryFirst
		}
		c.mu.Lock()
		var changed changes
		switch {
		case !snapshot:
		case errors.Is(err, io.EOF):
			changed = c.ledger.finish(address, c.clock.Now())
		default:
			changed = c.ledger.lose(address, c.clock.Now())
		}
		c.settle(changed)
		gone := !f.listed
		if gone && c.followers[address] == f {
			delete(c.followers, address)
		}
		c.mu.Unlock()
		if gone {
			return
		}
		if ctx.Err() == nil && !errors.Is(err, io.EOF) {
			klog.V(2).InfoS("Lost the counts of an interceptor", "address", address, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-c.clock.After(wait):
		}
		wait = min(2*wait, retryMost)
	}
}

func (c *Collector) connect(address string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(c.config.Credentials),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryMost},
			MinConnectTimeout: retryMost,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: hungAfter, Timeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxUpdate)),
		grpc.WithNoProxy(),
	}
	if c.config.Dial != nil {
		options = append(options, grpc.WithContextDialer(c.config.Dial))
	}
	return grpc.NewClient("passthrough:///"+address, options...)
}

// stream follows one stream to its end.
func (c *Collector) stream(ctx context.Context, conn *grpc.ClientConn, address string, f *follower) (snapshot bool, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := wire.NewCountsClient(conn).Watch(ctx, &wire.WatchRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return false, err
	}
	defer func() {
		c.mu.Lock()
		f.hangUp = nil
		c.mu.Unlock()
	}()
	var sequence uint64
	for {
		u, err := stream.Recv()
		if err != nil {
			return snapshot, err
		}
		sequence++
		if u.GetSequence() != sequence || u.GetSnapshot() != (sequence == 1) {
			return snapshot, fmt.Errorf("update %d came as number %d of the stream", u.GetSequence(), sequence)
		}
		if !c.take(address, f, u, cancel) {
			return snapshot, errors.New("no longer followed")
		}
		snapshot = true
	}
}

// take takes in what an interceptor told, if it is still followed.
func (c *Collector) take(address string, f *follower, u *wire.Update, hangUp func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followers[address] != f {
		return false
	}
	f.hangUp = hangUp
	c.settle(c.ledger.update(address, u, c.clock.Now()))
	return true
}

// hangUpOnSilent ends streams on which nothing comes any more although they look open. The lock is held.
func (c *Collector) hangUpOnSilent(now time.Time) {
	for address, f := range c.followers {
		if v := c.ledger.views[address]; f.hangUp != nil && v != nil && v.known && now.Sub(v.heard) >= hungAfter {
			f.hangUp()
		}
	}
}

// settle tells the subscribers what changed. The lock is held.
func (c *Collector) settle(changed changes) {
	if !c.synced && c.listed && c.ledger.heardOfAll(c.clock.Now()) {
		c.synced = true
		changed.all = true
	}
	apps := changed.apps
	if changed.all {
		apps = c.ledger.known()
		apps[AllApps] = struct{}{}
		for app := range changed.apps {
			apps[app] = struct{}{}
		}
	}
	if len(apps) == 0 {
		return
	}
	c.subsMu.Lock()
	defer c.subsMu.Unlock()
	for s := range c.subs {
		for app := range apps {
			s.mark(app)
		}
	}
}

// Sample returns what is known of an app now, averaged over a window from one second to ten minutes. An app that nobody
// asked about yet has zeros: all requests of it that there are.
func (c *Collector) Sample(app types.NamespacedName, window time.Duration) Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ledger.sample(app, window, c.clock.Now())
}

// Subscribe returns a subscription to all apps whose sample changes, also those whose averages do as time goes on. When it changes who
// reports, so that the samples of apps without any request change, too, it names AllApps.
func (c *Collector) Subscribe() *Subscription {
	s := newSubscription(func(s *Subscription) {
		c.subsMu.Lock()
		defer c.subsMu.Unlock()
		delete(c.subs, s)
	})
	c.subsMu.Lock()
	defer c.subsMu.Unlock()
	c.subs[s] = struct{}{}
	return s
}

// Synced reports whether the samples are complete: every interceptor that was there at the start has told its counts, or
// could not be reached for the grace period, or there is none. Once true it stays so; Sample says how many report since.
func (c *Collector) Synced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.synced && c.listed && c.ledger.heardOfAll(c.clock.Now()) {
		c.synced = true
	}
	return c.synced
}
