// Package apiservice takes API groups over that nobody else in the cluster serves.
package apiservice

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

const (
	apiVersion   = "apiregistration.k8s.io/v1"
	kind         = "APIService"
	fieldManager = "kedahttp"
	// retry is how soon after a failure it is tried again.
	retry = 5 * time.Second
	// reasonForeign is the reason of the event that says that somebody else serves the group.
	reasonForeign = "ServedByAnother"
)

var resource = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// Config says what is claimed.
type Config struct {
	Dynamic dynamic.Interface
	// GroupVersion is what this server serves if nobody else does.
	GroupVersion schema.GroupVersion
	// Model is the APIService of a group that is always this server's. What is claimed leads to the same Service, is trusted
	// for the same reason, and goes when it goes.
	Model string
	// Renounce gives up what was claimed, and claims nothing.
	Renounce bool
	Events   record.EventRecorder
}

// Claim keeps the APIService of a group while nobody else has one. One replica runs it.
type Claim struct {
	Config
	name           string
	model, claimed cache.SharedIndexInformer
	due            chan struct{}
	changed        chan struct{}

	mu    sync.Mutex
	owner Owner
	known bool
}

// Owner is who serves the group.
type Owner struct {
	// Ours says that this server does.
	Ours bool
	// Service is the Service of whoever else does, as namespace/name; empty when nobody does.
	Service string
}

// New makes a claim; it is made good while Run runs.
func New(config Config) *Claim {
	name := config.GroupVersion.Version + "." + config.GroupVersion.Group
	return &Claim{
		Config: config, name: name,
		model:   informerOf(config.Dynamic, config.Model),
		claimed: informerOf(config.Dynamic, name),
		due:     make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
	}
}

func informerOf(client dynamic.Interface, name string) cache.SharedIndexInformer {
	one := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}
	return dynamicinformer.NewFilteredDynamicInformer(client, resource, metav1.NamespaceAll, 0, cache.Indexers{}, one).Informer()
}

// Owner says who serves the group, as soon as it is known.
func (c *Claim) Owner() (owner Owner, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owner, c.known
}

// Changed has a value after each change of the owner.
func (c *Claim) Changed() <-chan struct{} { return c.changed }

// Run makes the claim good until the context ends. It is called once.
func (c *Claim) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, informer := range []cache.SharedIndexInformer{c.model, c.claimed} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { poke(c.due) },
			UpdateFunc: func(_, _ any) { poke(c.due) },
			DeleteFunc: func(any) { poke(c.due) },
		}); err != nil {
			return err
		}
		wg.Go(func() { informer.RunWithContext(ctx) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), c.model.HasSynced, c.claimed.HasSynced) {
		return nil // the context ended
	}
	poke(c.due)
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.due:
		case <-again:
		}
		again = nil
		if err := c.settle(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Cannot keep an APIService, trying again", "apiservice", c.name, "after", retry)
			again = time.After(retry)
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settle makes the APIService what it should be, as far as it is ours.
func (c *Claim) settle(ctx context.Context) error {
	model, claimed := known(c.model, c.Model), known(c.claimed, c.name)
	if model == nil || model.GetDeletionTimestamp() != nil {
		return nil // kedahttp is not there yet, or is being removed
	}
	client := c.Dynamic.Resource(resource)
	switch {
	case claimed == nil && c.Renounce:
		c.owned(Owner{}, nil)
		return nil
	case claimed == nil:
		made, err := client.Apply(ctx, c.name, c.wanted(model), metav1.ApplyOptions{FieldManager: fieldManager})
		if apierrors.IsConflict(err) {
			return nil // somebody was faster, and the informer will tell
		}
		if err != nil {
			return fmt.Errorf("making the APIService %s: %w", c.name, err)
		}
		c.owned(Owner{Ours: true}, made)
		return nil
	case serviceOf(claimed) != serviceOf(model):
		c.owned(Owner{Service: serviceOf(claimed)}, claimed)
		return c.letGo(ctx, claimed)
	case claimed.GetDeletionTimestamp() != nil:
		return nil
	case c.Renounce:
		uid, version := claimed.GetUID(), claimed.GetResourceVersion()
		err := client.Delete(ctx, c.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting the APIService %s: %w", c.name, err)
		}
		return nil
	}
	wanted := c.wanted(model)
	if !asWanted(claimed, wanted) {
		// On the condition that it is still ours.
		wanted.SetResourceVersion(claimed.GetResourceVersion())
		made, err := client.Apply(ctx, c.name, wanted, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		if apierrors.IsConflict(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("correcting the APIService %s: %w", c.name, err)
		}
		klog.InfoS("The APIService follows that of the apps", "apiservice", c.name, "model", c.Model)
		claimed = made
	}
	c.owned(Owner{Ours: true}, claimed)
	return nil
}

// letGo takes our owner reference off an APIService that was ours until somebody applied theirs over it: it must not go when
// kedahttp does.
func (c *Claim) letGo(ctx context.Context, claimed *unstructured.Unstructured) error {
	theirs := slices.DeleteFunc(claimed.GetOwnerReferences(), func(o metav1.OwnerReference) bool {
		return o.APIVersion == apiVersion && o.Kind == kind && o.Name == c.Model
	})
	if len(theirs) == len(claimed.GetOwnerReferences()) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": claimed.GetResourceVersion(), "ownerReferences": theirs}})
	if err != nil {
		return err
	}
	_, err = c.Dynamic.Resource(resource).Patch(ctx, c.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("letting go of the APIService %s: %w", c.name, err)
	}
	return nil
}

func known(informer cache.SharedIndexInformer, name string) *unstructured.Unstructured {
	obj, there, err := informer.GetStore().GetByKey(name)
	if err != nil || !there {
		return nil
	}
	u, _ := obj.(*unstructured.Unstructured)
	return u
}

// serviceOf is the Service that an APIService leads to.
func serviceOf(u *unstructured.Unstructured) string {
	namespace, _, _ := unstructured.NestedString(u.Object, "spec", "service", "namespace")
	name, _, _ := unstructured.NestedString(u.Object, "spec", "service", "name")
	if name == "" {
		return "the host cluster itself"
	}
	return namespace + "/" + name
}

// copied are the fields of the model's spec that say where its Service is and why it is trusted.
var copied = []string{"service", "caBundle"}

// wanted is what the APIService should be.
func (c *Claim) wanted(model *unstructured.Unstructured) *unstructured.Unstructured {
	spec := map[string]any{
		"group": c.GroupVersion.Group, "version": c.GroupVersion.Version,
		// Those that KEDA and other adapters use.
		"groupPriorityMinimum": int64(100), "versionPriority": int64(100),
	}
	from, _, _ := unstructured.NestedMap(model.Object, "spec")
	for _, field := range copied {
		if value, ok := from[field]; ok {
			spec[field] = value
		}
	}
	// Said also when it is false, or it could not be taken back from who sets it.
	skips, _ := from["insecureSkipTLSVerify"].(bool)
	spec["insecureSkipTLSVerify"] = skips
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{
			"name":   c.name,
			"labels": map[string]any{"app.kubernetes.io/managed-by": fieldManager, "app.kubernetes.io/part-of": "kedahttp"},
			// An APIService that outlives its server keeps every namespace of the cluster from being deleted.
			"ownerReferences": []any{map[string]any{"apiVersion": apiVersion, "kind": kind, "name": model.GetName(), "uid": string(model.GetUID())}},
		},
		"spec": spec,
	}}
}

// asWanted reports whether nothing of what is wanted is otherwise.
func asWanted(claimed, wanted *unstructured.Unstructured) bool {
	is, _, _ := unstructured.NestedMap(claimed.Object, "spec")
	should, _, _ := unstructured.NestedMap(wanted.Object, "spec")
	for _, field := range copied {
		if !equality.Semantic.DeepEqual(is[field], should[field]) {
			return false
		}
	}
	skips, _ := is["insecureSkipTLSVerify"].(bool)
	if skips != should["insecureSkipTLSVerify"] {
		return false
	}
	return len(claimed.GetOwnerReferences()) > 0 && equality.Semantic.DeepEqual(claimed.GetOwnerReferences(), wanted.GetOwnerReferences())
}

// owned notes who serves the group, and tells when that changed.
func (c *Claim) owned(owner Owner, object *unstructured.Unstructured) {
	c.mu.Lock()
	same := c.known && c.owner == owner
	c.owner, c.known = owner, true
	c.mu.Unlock()
	if same {
		return
	}
	poke(c.changed)
	switch {
	case owner.Ours:
		klog.InfoS("This server serves the group", "apiservice", c.name)
	case owner.Service == "":
		klog.InfoS("Nobody serves the group, and this server was told not to", "apiservice", c.name)
	default:
		klog.InfoS("Somebody else serves the group; it is left alone, and taken over when it is deleted", "apiservice", c.name, "service", owner.Service)
		c.Events.Eventf(&corev1.ObjectReference{APIVersion: apiVersion, Kind: kind, Name: c.name, UID: object.GetUID(), ResourceVersion: object.GetResourceVersion()},
			corev1.EventTypeNormal, reasonForeign,
			"%s is served by %s: kedahttp leaves it alone, and its metrics are not found there. HTTPApps scale by KEDA; those with autoscaler HPA do not until this APIService is deleted",
			c.GroupVersion, owner.Service)
	}
}
