package secrets

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets/secretstest"
)

const patience = 30 * time.Second

func reason(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func TestASecretThatCannotBeServedWithSaysWhy(t *testing.T) {
	a := secretstest.NewAuthority(t)
	good, other := a.Secret("default", "s", "shop.test"), a.Secret("default", "s", "shop.test")
	for what, c := range map[string]struct {
		data map[string][]byte
		says string
	}{
		"no certificate":    {map[string][]byte{corev1.TLSPrivateKeyKey: good.Data[corev1.TLSPrivateKeyKey]}, "has no tls.crt"},
		"no key":            {map[string][]byte{corev1.TLSCertKey: good.Data[corev1.TLSCertKey]}, "has no tls.key"},
		"the key of others": {map[string][]byte{corev1.TLSCertKey: good.Data[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: other.Data[corev1.TLSPrivateKeyKey]}, "private key does not match"},
		"no PEM":            {map[string][]byte{corev1.TLSCertKey: []byte("x"), corev1.TLSPrivateKeyKey: []byte("y")}, "cannot be used"},
	} {
		t.Run(what, func(t *testing.T) {
			s := good.DeepCopy()
			s.Data = c.data
			_, err := certificateOf(s)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "kubectl create secret tls")
			require.Equal(t, ReasonInvalid, reason(err))
		})
	}
	c, err := certificateOf(good)
	require.NoError(t, err)
	require.Equal(t, []string{"shop.test"}, c.Leaf.DNSNames)
}

func TestWhatClientsWouldNotAcceptIsKnownBefore(t *testing.T) {
	a := secretstest.NewAuthority(t)
	now := time.Now().Truncate(time.Second)
	from, until := now.Add(-time.Minute), now.Add(time.Minute)
	for what, c := range map[string]struct {
		names, hosts []string
		at           time.Time
		reason       string
		changes      time.Time
	}{
		"one for the host":                {[]string{"shop.test"}, []string{"shop.test"}, now, "", until},
		"in another case, with a dot":     {[]string{"shop.test"}, []string{"Shop.Test."}, now, "", until},
		"a wildcard for the host":         {[]string{"*.test"}, []string{"shop.test"}, now, "", until},
		"a wildcard for the wildcard":     {[]string{"*.test"}, []string{"*.test"}, now, "", until},
		"a wildcard is for one label":     {[]string{"*.test"}, []string{"a.shop.test"}, now, ReasonNotCovered, until},
		"a name is for no wildcard":       {[]string{"shop.test"}, []string{"*.test"}, now, ReasonNotCovered, until},
		"not for all hosts":               {[]string{"shop.test"}, []string{"shop.test", "cart.test"}, now, ReasonNotCovered, until},
		"without a name":                  {nil, []string{"shop.test"}, now, ReasonNotCovered, until},
		"expired":                         {[]string{"shop.test"}, []string{"shop.test"}, until.Add(time.Second), ReasonExpired, time.Time{}},
		"not valid yet":                   {[]string{"shop.test"}, []string{"shop.test"}, from.Add(-time.Second), ReasonNotYetValid, from},
		"of an app that has no host here": {[]string{"shop.test"}, nil, now, "", until},
	} {
		t.Run(what, func(t *testing.T) {
			certificate, err := certificateOf(a.SecretFrom("default", "s", from, until, c.names...))
			require.NoError(t, err)
			changes, err := Check("s", certificate, c.hosts, c.at)
			require.Equal(t, c.reason, reason(err), "%v", err)
			require.True(t, changes.Equal(c.changes), "%s, not %s", changes, c.changes)
		})
	}
}

// watched is a Watcher and whom it told.
type watched struct {
	*Watcher
	t      *testing.T
	client *fake.Clientset
	mu     sync.Mutex
	told   map[string]int
}

func newWatched(t *testing.T, client *fake.Clientset) *watched {
	w := &watched{t: t, client: client, told: map[string]int{}}
	w.Watcher = NewWatcher(secretstest.Of(client), func(app types.NamespacedName) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told[app.Name]++
	})
	t.Cleanup(w.Close)
	return w
}

func (w *watched) of(app string) State { return w.Of(named(app)) }

func (w *watched) eventually(what string, is func() bool) {
	w.t.Helper()
	require.Eventually(w.t, is, patience, time.Millisecond, what)
}

func (w *watched) timesTold(app string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told[app]
}

func named(app string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: app}
}

func TestASecretIsFollowedWhileAnAppNamesIt(t *testing.T) {
	a := secretstest.NewAuthority(t)
	first := a.Secret("default", "s", "shop.test")
	w := newWatched(t, fake.NewClientset())
	secrets := w.client.CoreV1().Secrets("default")
	w.Wait(t.Context()) // there is nothing to be read
	require.Equal(t, State{}, w.of("shop"), "it names none")

	w.Set(named("shop"), "s")
	w.Wait(t.Context())
	require.True(t, Is(w.of("shop").Err, ReasonNotFound), "it is not there")
	_, err := secrets.Create(t.Context(), first, metav1.CreateOptions{})
	require.NoError(t, err)
	w.eventually("it is", func() bool { return w.of("shop").Err == nil && w.of("shop").Certificate != nil })
	before := w.of("shop").Certificate

	broken := first.DeepCopy()
	broken.Data[corev1.TLSPrivateKeyKey] = []byte("x")
	_, err = secrets.Update(t.Context(), broken, metav1.UpdateOptions{})
	require.NoError(t, err)
	w.eventually("it is broken", func() bool { return Is(w.of("shop").Err, ReasonInvalid) })
	require.Same(t, before, w.of("shop").Certificate, "those who serve keep the good one")

	_, err = secrets.Update(t.Context(), a.Secret("default", "s", "shop.test"), metav1.UpdateOptions{})
	require.NoError(t, err)
	w.eventually("it is renewed", func() bool { return w.of("shop").Err == nil && w.of("shop").Certificate != before })

	told := w.timesTold("shop")
	w.Set(named("cart"), "s")
	require.Equal(t, w.of("shop"), w.of("cart"), "it is known already")
	require.NoError(t, secrets.Delete(t.Context(), "s", metav1.DeleteOptions{}))
	w.eventually("it is gone", func() bool { return w.timesTold("shop") > told && w.timesTold("cart") > 0 })
	require.Nil(t, w.of("cart").Certificate)
	require.True(t, Is(w.of("cart").Err, ReasonNotFound))

	w.Set(named("cart"), "other")
	w.eventually("the other is not there", func() bool { return Is(w.of("cart").Err, ReasonNotFound) })
	require.ErrorContains(t, w.of("cart").Err, "other")
	w.Set(named("shop"), "")
	require.Equal(t, State{}, w.of("shop"))
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Len(t, w.secrets, 1, "what nobody names is not watched")
}

func TestEachSecretIsAskedForByItsName(t *testing.T) {
	client := fake.NewClientset()
	w := newWatched(t, client)
	w.Set(named("shop"), "s")
	w.eventually("it is watched", func() bool {
		for _, action := range client.Actions() {
			if action.GetVerb() == "watch" {
				return true
			}
		}
		return false
	})
	for _, action := range client.Actions() {
		require.Equal(t, "default", action.GetNamespace())
		switch action := action.(type) {
		case clienttesting.ListAction:
			require.Equal(t, "metadata.name=s", action.GetListRestrictions().Fields.String())
		case clienttesting.WatchAction:
			require.Equal(t, "metadata.name=s", action.GetWatchRestrictions().Fields.String())
		default:
			require.Failf(t, "another action", "%v", action)
		}
	}
}

func TestASecretThatMayNotBeReadYetIsReadLater(t *testing.T) {
	a := secretstest.NewAuthority(t)
	client := fake.NewClientset(a.Secret("default", "s", "shop.test"))
	var mu sync.Mutex
	allowed := false
	client.PrependReactor("list", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		if allowed {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "s", errors.New("not you"))
	})
	w := newWatched(t, client)
	w.Set(named("shop"), "s")
	w.Wait(t.Context())
	require.True(t, Is(w.of("shop").Err, ReasonNotKnown))
	require.ErrorContains(t, w.of("shop").Err, "may not be read")
	mu.Lock()
	allowed = true
	mu.Unlock()
	w.eventually("it is read", func() bool { return w.of("shop").Certificate != nil && w.of("shop").Err == nil })
}

func TestWhoWaitsForSecretsGoesOnWhenTheyAreNotNamedAnyMore(t *testing.T) {
	client := fake.NewClientset()
	held := make(chan struct{})
	client.PrependReactor("*", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		<-held
		return false, nil, nil
	})
	w := newWatched(t, client)
	t.Cleanup(func() { close(held) }) // before it is closed
	w.Set(named("shop"), "s")
	limited, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	w.Wait(limited)
	cancel()
	require.ErrorIs(t, limited.Err(), context.DeadlineExceeded, "it has not been read")
	gone := make(chan struct{})
	go func() {
		w.Wait(t.Context())
		close(gone)
	}()
	w.Set(named("shop"), "")
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("it waits on")
	}
}
