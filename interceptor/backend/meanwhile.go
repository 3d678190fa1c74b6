package backend

import (
	"context"
	"errors"
	"math"
	"mime"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/balance"
	"github.com/kedahttp/kedahttp/interceptor/endpoints"
	"github.com/kedahttp/kedahttp/interceptor/hold"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// What answers in an app's place while it has no pod, as spec.coldStart says. The app is to wake all the same: see Wish.

// Placeholder is a fixed response.
type Placeholder struct {
	Status int
	// ContentType is a media type that can be written into a header, Media the same without its parameters.
	ContentType, Media string
	// Body is what the spec says; empty if it says nothing.
	Body []byte
}

const defaultPlaceholderType = "text/html; charset=utf-8"

func placeholderOf(c *v1alpha1.ColdStart) *Placeholder {
	if c == nil || c.Placeholder == nil {
		return nil
	}
	p := &Placeholder{Status: int(c.Placeholder.StatusCode), Body: []byte(c.Placeholder.Body)}
	if p.Status < 200 || p.Status > 599 {
		p.Status = http.StatusServiceUnavailable
	}
	for _, t := range []string{c.Placeholder.ContentType, defaultPlaceholderType} {
		if media, params, err := mime.ParseMediaType(t); err == nil {
			p.Media, p.ContentType = media, mime.FormatMediaType(media, params)
			break
		}
	}
	return p
}

// Fallback is another Service.
type Fallback struct {
	Service types.NamespacedName
	// After is how long a request waits for the app first.
	After time.Duration

	port *intstr.IntOrString
	pods *balance.Pool
	// protocol is what the Service says.
	protocol *protocol
}

// fallbackOf reads a spec; pods that are known already, of whatever Service, stay until they are set.
func fallbackOf(app *v1alpha1.HTTPApp, before *Fallback, clk Clock) *Fallback {
	c := app.Spec.ColdStart
	if c == nil || c.Fallback == nil {
		return nil
	}
	f := &Fallback{Service: types.NamespacedName{Namespace: app.Namespace, Name: c.Fallback.ServiceName}, port: ptr.To(intstr.FromInt32(c.Fallback.Port))}
	if c.Fallback.After != nil {
		f.After = c.Fallback.After.Duration
	}
	if before != nil {
		f.pods, f.protocol = before.pods, before.protocol
	} else {
		// Nobody waits for these pods.
		f.pods, f.protocol = balance.NewPool(clk, func() {}), &protocol{}
	}
	return f
}

// Pick returns a ready pod of the Service, as the pool's Pick does, or nil.
func (f *Fallback) Pick(avoid *balance.Endpoint) *balance.Endpoint { return f.pods.Pick(avoid) }

// Protocol is how the pods speak HTTP.
func (f *Fallback) Protocol() v1alpha1.Protocol { return f.protocol.get() }

func (f *Fallback) set(known endpoints.Set, zone string) {
	f.protocol.set(known)
	var ready []balance.Pod
	for _, e := range known.Endpoints {
		if e.Ready {
			ready = append(ready, podOf(e, zone))
		}
	}
	f.pods.Set(ready)
}

// Fallback returns the Service that answers while the app wakes, nil if there is none.
func (b *Backend) Fallback() *Fallback { return b.fallback.Load() }

// wishes is what remains in the counts of requests that were answered in the app's place.
type wishes struct {
	line *hold.Line

	mu sync.Mutex
	// standing says that one of them waits for a pod; until then, unless others come.
	standing bool
	until    time.Time
}

var errDraining = errors.New("the interceptor ends")

// Wish takes a request out of the counts that was answered in the app's place. Its client may be gone before anybody has looked at
// the counts, and the app is to wake: so the first such request goes on waiting, as it would have without an answer: it is
// pending until there is a pod, at most for spec.queue.maxWait after the last one, and pods that are not ready yet are asked
// whether they are. One wish calls for one replica; how many more are needed shows when clients come again.
func (b *Backend) Wish(t *queue.Ticket) {
	t.Hold()
	w := &b.wishes
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = b.clock.Now().Add(b.Settings().MaxWait)
	if w.standing || b.Pods.Ready() > 0 {
		t.Done()
		return
	}
	w.standing = true
	go b.stand(t.Pass())
}

// stand waits in the place of a request.
func (b *Backend) stand(t *queue.Ticket) {
	b.starter.Enter()
	defer b.starter.Leave()
	defer t.Done()
	w := &b.wishes
	for {
		w.mu.Lock()
		left := w.until.Sub(b.clock.Now())
		w.mu.Unlock()
		var place hold.Place
		err := w.line.Wait(context.Background(), &place, math.MaxInt, left, func() bool { return b.Pods.Ready() > 0 })
		w.mu.Lock()
		if !errors.Is(err, hold.ErrTooLong) || !b.clock.Now().Before(w.until) {
			w.standing = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock() // others came meanwhile
	}
}
