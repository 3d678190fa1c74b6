// Package certificates keeps kedahttp's own certificates: an authority and a leaf for each part, in Secrets that all replicas
// of the API server share. Each replica makes what is missing, renews what gets old, and takes over what another one made.
package certificates

import (
	"context"
	"encoding/json"
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
	// authorityKey is where a leaf's Secret has the authority's certificate.
	authorityKey = "ca.crt"

	// Certificates last for months, so looking at them once a minute is for Secrets that somebody deleted.
	period = time.Minute
	retry  = 5 * time.Second
)

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// Config says whose certificates there are.
type Config struct {
	Client    kubernetes.Interface
	Dynamic   dynamic.Interface
	Namespace string
	// Own is the leaf of this server, Others are those of the other parts.
	Own    Leaf
	Others []Leaf
	// APIService is told the authority that signed Own, if it is served by Service in Namespace. Empty: none is told.
	APIService, Service string
	Clock               clock.Clock
}

// Manager keeps the certificates.
type Manager struct {
	Config
	current current
}

// NewManager makes a manager; nothing is made before Ensure or Run.
func NewManager(config Config) *Manager { return &Manager{Config: config} }

// Run keeps the certificates until the context ends.
func (m *Manager) Run(ctx context.Context) {
	for {
		wait := period
		err := m.Ensure(ctx)
		if err == nil {
			err = m.publish(ctx)
		}
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Keeping the certificates failed, trying again", "after", retry)
			wait = retry
		}
		timer := m.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
	}
}

// Ensure makes or renews what has to be, and takes over what there is.
func (m *Manager) Ensure(ctx context.Context) error {
	var ca *authority
	_, err := m.secret(ctx, AuthoritySecret, func(s *corev1.Secret) (err error) {
		ca, err = parse(pairOf(s), m.Clock.Now())
		return err
	}, func() (map[string][]byte, error) {
		p, err := newAuthority(m.Clock.Now())
		return map[string][]byte{corev1.TLSCertKey: p.cert, corev1.TLSPrivateKeyKey: p.key}, err
	})
	if err != nil {
		return err
	}
	for _, leaf := range append([]Leaf{m.Own}, m.Others...) {
		s, err := m.secret(ctx, leaf.Secret, func(s *corev1.Secret) error {
			return ca.check(pairOf(s), s.Data[authorityKey], leaf, m.Clock.Now())
		}, func() (map[string][]byte, error) {
			p, err := ca.issue(leaf, m.Clock.Now())
			return map[string][]byte{corev1.TLSCertKey: p.cert, corev1.TLSPrivateKeyKey: p.key, authorityKey: ca.pair.cert}, err
		})
		if err != nil {
			return err
		}
		if leaf.Secret == m.Own.Secret {
			if err := m.current.set(pairOf(s), ca.pair.cert); err != nil {
				return err
			}
		}
	}
	return nil
}

func pairOf(s *corev1.Secret) pair {
	return pair{cert: s.Data[corev1.TLSCertKey], key: s.Data[corev1.TLSPrivateKeyKey]}
}

// secret returns a Secret that passes the check, made anew if it does not. Of several replicas that make one, the first
// wins and the others take its over.
func (m *Manager) secret(ctx context.Context, name string, check func(*corev1.Secret) error, content func() (map[string][]byte, error)) (*corev1.Secret, error) {
	secrets := m.Client.CoreV1().Secrets(m.Namespace)
	var made *corev1.Secret
	for {
		s, err := secrets.Get(ctx, name, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return nil, fmt.Errorf("reading the Secret %s: %w", name, err)
		}
		if !missing {
			why := check(s)
			if why == nil {
				return s, nil
			}
			if made != nil && made.ResourceVersion == s.ResourceVersion {
				return nil, fmt.Errorf("the Secret %s that was just made is of no use: %w", name, why)
			}
			klog.InfoS("Making a certificate anew", "secret", name, "because", why.Error())
		}
		data, err := content()
		if err != nil {
			return nil, fmt.Errorf("making a certificate for the Secret %s: %w", name, err)
		}
		if missing {
			made, err = secrets.Create(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app.kubernetes.io/managed-by": "kedahttp", "app.kubernetes.io/part-of": "kedahttp"}},
				Type:       corev1.SecretTypeTLS,
				Data:       data,
			}, metav1.CreateOptions{})
		} else {
			s = s.DeepCopy()
			s.Data = data
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

// publish tells the APIService the authority, so that the host trusts this server.
func (m *Manager) publish(ctx context.Context) error {
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
	bundle := m.current.bundle()
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
		klog.InfoS("The APIService trusts this server's authority now", "apiservice", m.APIService)
	}
	return err
}
