package secrets

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// State is what is known of a Secret.
type State struct {
	// Certificate is the last one that could be read, nil if there was none or the Secret is not there any more: what replaces a
	// good one by a broken one does not take it from those who serve.
	Certificate *tls.Certificate
	// Err says what is wrong with the Secret as it is.
	Err error
}

// Watcher watches the Secrets that apps name, each by its name, which takes no right on any other Secret.
type Watcher struct {
	secretsOf func(namespace string, options func(*metav1.ListOptions)) cache.ListerWatcher
	changed   func(app types.NamespacedName)

	mu      sync.RWMutex
	apps    map[types.NamespacedName]*secret
	secrets map[types.NamespacedName]*secret
	// recalled are Secrets as they were once.
	recalled map[types.NamespacedName]*corev1.Secret
	// untried are the Secrets that have not been read yet, and could have been; moved is closed, and another made, when they become less.
	untried int
	moved   chan struct{}
	closed  bool
	running sync.WaitGroup
}

// secret is one that is watched.
type secret struct {
	watcher *Watcher
	name    types.NamespacedName
	stop    context.CancelFunc

	// What follows is guarded by the watcher's lock.
	apps  []types.NamespacedName
	state State
	// good is the last one with a certificate that could be read, as far as that matters.
	good *corev1.Secret
	// tried says that there was an answer, or none.
	tried bool
}

// NewWatcher makes a watcher of no Secret. secretsOf lists and watches those of a namespace that the options select. It calls back, if it is given what to call, with each app of whose Secret more or something
// else is known now.
func NewWatcher(secretsOf func(namespace string, options func(*metav1.ListOptions)) cache.ListerWatcher, changed func(app types.NamespacedName)) *Watcher {
	return &Watcher{secretsOf: secretsOf, changed: changed, apps: map[types.NamespacedName]*secret{}, secrets: map[types.NamespacedName]*secret{}, moved: make(chan struct{})}
}

// Set says which Secret of its namespace an app names; "" is none.
func (w *Watcher) Set(app types.NamespacedName, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	before := w.apps[app]
	named := types.NamespacedName{Namespace: app.Namespace, Name: name}
	if before != nil && before.name == named {
		return
	}
	if before != nil {
		before.apps = slices.DeleteFunc(before.apps, func(other types.NamespacedName) bool { return other == app })
		delete(w.apps, app)
		if len(before.apps) == 0 {
			before.stop()
			delete(w.secrets, before.name)
			w.done(before)
		}
	}
	if name == "" {
		return
	}
	s := w.secrets[named]
	if s == nil {
		ctx, stop := context.WithCancel(context.Background())
		s = &secret{watcher: w, name: named, stop: stop, state: State{Err: &Error{ReasonNotKnown, fmt.Sprintf("Secret %s has not been read yet", name)}}}
		if was := w.recalled[named]; was != nil {
			if c, err := certificateOf(was); err == nil {
				s.state.Certificate, s.good = c, was
			}
			delete(w.recalled, named) // whatever comes later, it is older than that
		}
		w.secrets[named] = s
		w.untried++
		w.running.Go(func() { s.watch(ctx) })
	}
	s.apps = append(s.apps, app)
	w.apps[app] = s
}

// Of returns what is known of the Secret that an app names. There is neither a certificate nor an error when it names none.
func (w *Watcher) Of(app types.NamespacedName) State {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if s := w.apps[app]; s != nil {
		return s.state
	}
	return State{}
}

// Known returns the Secrets that there are certificates of, with these and nothing else: what Recall takes.
func (w *Watcher) Known() (known []*corev1.Secret) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, s := range w.secrets {
		if s.state.Certificate != nil && s.good != nil {
			known = append(known, s.good)
		}
	}
	return known
}

// Recall has the certificates of Secrets as they were once used for as long as it is not known how they are. It is for the apps that
// are set afterwards.
func (w *Watcher) Recall(known []*corev1.Secret) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recalled = map[types.NamespacedName]*corev1.Secret{}
	for _, s := range known {
		w.recalled[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
	}
}

// done takes in that a Secret has been tried, or need not be any more.
func (w *Watcher) done(s *secret) {
	if s.tried {
		return
	}
	s.tried = true
	w.untried--
	close(w.moved)
	w.moved = make(chan struct{})
}

// Wait waits until each Secret that is named has been read, or could not be, or until the context ends.
func (w *Watcher) Wait(ctx context.Context) {
	for {
		w.mu.RLock()
		untried, moved := w.untried, w.moved
		w.mu.RUnlock()
		if untried == 0 {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// Close ends all watches, and lets none begin.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.closed = true
	for _, s := range w.secrets {
		s.stop()
	}
	w.mu.Unlock()
	w.running.Wait()
}

// again is when to try again what failed.
var again = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 20, Cap: 15 * time.Second}

// Until a read is allowed it is tried again after soon, then twice as long, up to late: the right to read a Secret is made when an app
// names it. Only then is that an error to be logged.
const (
	soon = 50 * time.Millisecond
	late = 5 * time.Second
)

func allowed[T any](ctx context.Context, s *secret, read func() (T, error)) (T, error) {
	for pause := soon; ; pause *= 2 {
		got, err := read()
		s.failed(ctx, err)
		if !apierrors.IsForbidden(err) || pause > late {
			return got, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
}

func (s *secret) watch(ctx context.Context) {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, s.name.Name).String()
	secrets := s.watcher.secretsOf(s.name.Namespace, func(o *metav1.ListOptions) { o.FieldSelector = only })
	reader := cache.ToListerWatcherWithContext(secrets)
	backoff := again
	cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return allowed(ctx, s, func() (runtime.Object, error) { return reader.ListWithContext(ctx, o) })
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return allowed(ctx, s, func() (watch.Interface, error) { return reader.WatchWithContext(ctx, o) })
		},
	}, secrets), &corev1.Secret{}, view{s}, cache.ReflectorOptions{Name: "secret " + s.name.String(), Backoff: &backoff}).RunWithContext(ctx)
}

// failed takes in that the Secret could not be read, if nothing better is known.
func (s *secret) failed(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	s.set(func(state *State) {
		if state.Err == nil || !Is(state.Err, ReasonNotKnown) {
			return
		}
		e := &Error{ReasonNotKnown, fmt.Sprintf("Secret %s cannot be read: %v", s.name.Name, err)}
		if apierrors.IsForbidden(err) {
			e.Message = fmt.Sprintf("Secret %s may not be read: %v", s.name.Name, err)
		}
		state.Err = e
	})
}

// set changes what is known and tells those whom it concerns.
func (s *secret) set(change func(*State)) {
	w := s.watcher
	w.mu.Lock()
	before, tried := s.state, s.tried
	change(&s.state)
	w.done(s)
	same := tried && before.Certificate == s.state.Certificate && text(before.Err) == text(s.state.Err)
	apps := slices.Clone(s.apps)
	w.mu.Unlock()
	if same || w.changed == nil {
		return
	}
	for _, app := range apps {
		w.changed(app)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// view takes from a reflector what is to be known of one Secret; the rest is forgotten.
type view struct{ secret *secret }

func (v view) its(obj any) (*corev1.Secret, bool) {
	of, ok := obj.(*corev1.Secret)
	return of, ok && of.Name == v.secret.name.Name
}

func (v view) is(of *corev1.Secret) {
	c, err := certificateOf(of)
	v.secret.set(func(state *State) {
		state.Err = err
		if err == nil {
			state.Certificate, v.secret.good = c, slim(of)
		}
	})
}

func slim(s *corev1.Secret) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name},
		Data:       map[string][]byte{corev1.TLSCertKey: s.Data[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: s.Data[corev1.TLSPrivateKeyKey]},
	}
}

func (v view) gone() {
	name := v.secret.name
	v.secret.set(func(state *State) {
		*state = State{Err: &Error{ReasonNotFound, fmt.Sprintf("there is no Secret %s in namespace %s: make it, with kubectl create secret tls, or correct spec.tls.secretName", name.Name, name.Namespace)}}
	})
}

// Add implements cache.ReflectorStore.
func (v view) Add(obj any) error {
	if of, ok := v.its(obj); ok {
		v.is(of)
	}
	return nil
}

// Update implements cache.ReflectorStore.
func (v view) Update(obj any) error { return v.Add(obj) }

// Delete implements cache.ReflectorStore.
func (v view) Delete(obj any) error {
	if _, ok := v.its(obj); ok {
		v.gone()
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (v view) Replace(list []any, _ string) error {
	for _, obj := range list {
		if of, ok := v.its(obj); ok {
			v.is(of)
			return nil
		}
	}
	v.gone()
	return nil
}

// Resync implements cache.ReflectorStore.
func (view) Resync() error { return nil }
