// Package certificates keeps kedahttp's own certificates: an authority and a leaf for each part, in Secrets that all replicas
// of the API server share. Each replica makes what is missing, renews what gets old, and takes over what another one made.
package certificates

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// AuthoritySecret has the authority, with its key.
	AuthoritySecret = "kedahttp-ca"
	// authorityKey is where a Secret has the certificates of the authorities to trust, the one that issues first.
	authorityKey = "ca.crt"
	retry        = 5 * time.Second
)

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// Config says whose certificates there are.
type Config struct {
	Client    kubernetes.Interface
	Dynamic   dynamic.Interface
	Namespace string
	// Own is the leaf of this server, Others are those of the other parts, and of those who ask them.
	Own    Leaf
	Others []Leaf
	// APIService is told the authority that signed Own, if it is served by Service in Namespace. Empty: none is told.
	APIService, Service string
	Lifetimes           Lifetimes
	Clock               clock.Clock
}

// Manager keeps the certificates.
type Manager struct {
	Config
	current  current
	expiries expiries
	seen     seen
}

// seen is what this replica knows from its own clock alone: those of others may be hours ahead or behind.
type seen struct {
	// authority is the last one, and since is when it was first seen.
	authority *x509.Certificate
	since     time.Time
	// settled is since when nothing in use has been seen that is signed by another; zero: there is something.
	settled time.Time
}

// NewManager makes a manager; nothing is made before Ensure or Run.
func NewManager(config Config) *Manager { return &Manager{Config: config} }

// Run keeps the certificates until the context ends.
func (m *Manager) Run(ctx context.Context) {
	changed := m.listen(ctx)
	for {
		wait := m.Lifetimes.period()
		if err := m.keep(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Keeping the certificates failed, trying again", "after", min(wait, retry))
			wait = min(wait, retry)
		}
		timer := m.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-changed:
			timer.Stop()
		case <-timer.C():
		}
	}
}

// Ensure makes or renews what has to be for this server to serve, and takes over what there is.
func (m *Manager) Ensure(ctx context.Context) error {
	ca, err := m.authority(ctx)
	if err != nil {
		return err
	}
	return m.leaves(ctx, ca, func(l Leaf) bool { return l.Namespace == "" })
}

// keep is Ensure for a server that serves: the host is told whom to trust before it meets a certificate of theirs.
func (m *Manager) keep(ctx context.Context) error {
	ca, err := m.authority(ctx)
	if err != nil {
		return err
	}
	return errors.Join(
		m.publish(ctx, ca.bundle()),
		m.leaves(ctx, ca, func(l Leaf) bool { return l.Namespace == "" }),
		m.leaves(ctx, ca, func(l Leaf) bool { return l.Namespace != "" }),
	)
}

// authority returns the authority, made if there is none. When it is another one than before, what was trusted before is for
// a while trusted still.
func (m *Manager) authority(ctx context.Context) (*authority, error) {
	known := [][]byte{m.current.bundle()}
	var pairs []pair
	for _, leaf := range m.all() {
		s, err := m.Client.CoreV1().Secrets(m.namespaceOf(leaf)).Get(ctx, leaf.Secret, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("reading the Secret %s: %w", leaf.Secret, err)
		}
		if err == nil {
			known = append(known, s.Data[authorityKey])
			pairs = append(pairs, pairOf(s))
		}
	}
	now := m.Clock.Now()
	var ca *authority
	var looked seen
	_, err := m.secret(ctx, Leaf{Secret: AuthoritySecret}, func(s *corev1.Secret) (err error) {
		if ca, err = m.Lifetimes.parse(pairOf(s), now); err != nil {
			return err
		}
		bundle := s.Data[authorityKey]
		looked = m.seen.look(ca, pairs, now)
		ca.since = looked.since
		ca.remember(bundle, now)
		// Of one that was there before another replica may have found that those before it are not needed any more.
		if first := authorities(bundle); looked.since.Equal(now) || len(first) == 0 || !first[0].Equal(ca.cert) {
			for _, b := range known {
				ca.remember(b, now)
			}
		}
		if !looked.settled.IsZero() && now.Sub(looked.settled) >= m.Lifetimes.Overlap {
			ca.earlier = nil
		}
		if !bytes.Equal(bundle, ca.bundle()) {
			return errors.New("what is trusted beside it has changed")
		}
		return nil
	}, func(s *corev1.Secret) error {
		if ca == nil {
			p, err := m.Lifetimes.newAuthority(now)
			if err != nil {
				return err
			}
			if ca, err = m.Lifetimes.parse(p, now); err != nil {
				return err
			}
			for _, b := range append([][]byte{s.Data[authorityKey]}, known...) {
				ca.remember(b, now)
			}
			looked = m.seen.look(ca, pairs, now)
		}
		s.Data = map[string][]byte{corev1.TLSCertKey: ca.pair.cert, corev1.TLSPrivateKeyKey: ca.pair.key, authorityKey: ca.bundle()}
		return nil
	})
	if err == nil {
		m.seen = looked
	}
	return ca, err
}

// look is what is known after a look at the authority and at the pairs in use.
func (s seen) look(ca *authority, pairs []pair, now time.Time) seen {
	if s.authority == nil || !s.authority.Equal(ca.cert) {
		s = seen{authority: ca.cert, since: now}
	}
	switch {
	case !ca.signedAll(pairs):
		s.settled = time.Time{}
	case s.settled.IsZero():
		s.settled = now
	}
	return s
}

func (m *Manager) all() []Leaf { return append([]Leaf{m.Own}, m.Others...) }

func (m *Manager) namespaceOf(l Leaf) string { return cmp.Or(l.Namespace, m.Namespace) }

// leaves makes those of some leaves that have to be made, and takes over this server's.
func (m *Manager) leaves(ctx context.Context, ca *authority, which func(Leaf) bool) error {
	now, bundle := m.Clock.Now(), ca.bundle()
	for _, leaf := range m.all() {
		if !which(leaf) {
			continue
		}
		s, err := m.secret(ctx, leaf, func(s *corev1.Secret) error {
			if err := ca.check(pairOf(s), leaf, now); err != nil {
				return err
			}
			if !bytes.Equal(s.Data[authorityKey], bundle) {
				return errors.New("what is trusted has changed")
			}
			return nil
		}, func(s *corev1.Secret) error {
			p := pairOf(s)
			if ca.check(p, leaf, now) != nil {
				var err error
				if p, err = ca.issue(leaf, now); err != nil {
					return err
				}
			}
			s.Data = map[string][]byte{corev1.TLSCertKey: p.cert, corev1.TLSPrivateKeyKey: p.key, authorityKey: bundle}
			return nil
		})
		if err != nil {
			return err
		}
		if leaf.Secret == m.Own.Secret {
			if err := m.current.set(pairOf(s), bundle); err != nil {
				return err
			}
		}
	}
	return nil
}

func pairOf(s *corev1.Secret) pair {
	return pair{cert: s.Data[corev1.TLSCertKey], key: s.Data[corev1.TLSPrivateKeyKey]}
}

// secret returns a leaf's Secret that passes the check, made or changed by fill if it does not. Of several replicas that make one,
// the first wins and the others take its over.
func (m *Manager) secret(ctx context.Context, leaf Leaf, check, fill func(*corev1.Secret) error) (*corev1.Secret, error) {
	name, secrets := leaf.Secret, m.Client.CoreV1().Secrets(m.namespaceOf(leaf))
	var made *corev1.Secret
	for {
		s, err := secrets.Get(ctx, name, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		switch {
		case missing && leaf.Namespace != "":
			return nil, fmt.Errorf("there is no Secret %s in the namespace %s to put a certificate into", name, leaf.Namespace)
		case missing:
			s = &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app.kubernetes.io/managed-by": "kedahttp", "app.kubernetes.io/part-of": "kedahttp"}},
				Type:       corev1.SecretTypeTLS,
			}
		case err != nil:
			return nil, fmt.Errorf("reading the Secret %s: %w", name, err)
		default:
			m.expiries.note(name, pairOf(s))
			why := check(s)
			if why == nil {
				return s, nil
			}
			if made != nil && made.ResourceVersion == s.ResourceVersion {
				return nil, fmt.Errorf("the Secret %s that was just made is of no use: %w", name, why)
			}
			klog.InfoS("Making a certificate anew, or what is trusted with it", "secret", name, "because", why.Error())
			s = s.DeepCopy()
		}
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		if err := fill(s); err != nil {
			return nil, fmt.Errorf("making a certificate for the Secret %s: %w", name, err)
		}
		if missing {
			made, err = secrets.Create(ctx, s, metav1.CreateOptions{})
		} else {
			made, err = secrets.Update(ctx, s, metav1.UpdateOptions{})
		}
		switch {
		case err == nil:
		case apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || !missing && apierrors.IsNotFound(err):
			made = nil // another replica was faster
		default:
			return nil, fmt.Errorf("writing the Secret %s: %w", name, err)
		}
	}
}

// publish tells the APIService the authorities, so that the host trusts this server.
func (m *Manager) publish(ctx context.Context, bundle []byte) error {
	if m.APIService == "" {
		return nil
	}
	client := m.Dynamic.Resource(apiServices)
	service, err := client.Get(ctx, m.APIService, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no APIService %s yet", m.APIService)
	}
	if err != nil {
		return fmt.Errorf("reading the APIService %s: %w", m.APIService, err)
	}
	namespace, _, _ := unstructured.NestedString(service.Object, "spec", "service", "namespace")
	name, _, _ := unstructured.NestedString(service.Object, "spec", "service", "name")
	if namespace != m.Namespace || name != m.Service {
		return fmt.Errorf("the APIService %s leads to the Service %s/%s and not to %s/%s; it is left alone", m.APIService, namespace, name, m.Namespace, m.Service)
	}
	var spec struct {
		CABundle              []byte `json:"caBundle"`
		InsecureSkipTLSVerify bool   `json:"insecureSkipTLSVerify"`
	}
	raw, err := json.Marshal(service.Object["spec"])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return fmt.Errorf("the APIService %s: %w", m.APIService, err)
	}
	if string(spec.CABundle) == string(bundle) && !spec.InsecureSkipTLSVerify {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": service.GetResourceVersion()},
		"spec":     map[string]any{"caBundle": bundle, "insecureSkipTLSVerify": false},
	})
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, m.APIService, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kedahttp"})
	if apierrors.IsConflict(err) {
		return nil // another replica was faster; the next round sees what it wrote
	}
	if err == nil {
		klog.InfoS("The APIService trusts this server's authorities now", "apiservice", m.APIService)
	}
	return err
}
