package plugin

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// feed tells how apps are, and again when they change or their requests move.
type feed struct {
	clients   *clients
	namespace string // empty: all
	opts      metav1.ListOptions
}

// update is what is new: the apps that moved, and the names of those that are gone.
type update struct {
	apps []v1alpha1.HTTPApp
	gone []types.NamespacedName
}

const (
	// between is how often it is told at most.
	between = time.Second
	// oneByOne is up to how many apps are read one by one; more are cheaper to list.
	oneByOne = 20
)

// run tells until the context ends or nobody wants to know any more.
func (f *feed) run(ctx context.Context, tell func(update) error) error {
	all, err := f.list(ctx)
	if err != nil {
		return err
	}
	if err := tell(update{apps: all}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	moved := map[types.NamespacedName]bool{}
	ended := make(chan error, 1)
	go func() {
		ended <- f.clients.moves(ctx, f.namespace, f.opts, func(namespace, name string) error {
			mu.Lock()
			defer mu.Unlock()
			moved[types.NamespacedName{Namespace: namespace, Name: name}] = true
			return nil
		})
	}()
	ticker := time.NewTicker(between)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case <-ticker.C:
		}
		mu.Lock()
		names := moved
		moved = map[types.NamespacedName]bool{}
		mu.Unlock()
		if len(names) == 0 {
			continue
		}
		u, err := f.read(ctx, names)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tell(u); err != nil {
			return err
		}
	}
}

func (f *feed) list(ctx context.Context) ([]v1alpha1.HTTPApp, error) {
	list, err := f.clients.apps.HTTPApps(f.namespace).List(ctx, f.opts)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// read reads the apps that moved.
func (f *feed) read(ctx context.Context, names map[types.NamespacedName]bool) (u update, err error) {
	if len(names) > oneByOne {
		if u.apps, err = f.list(ctx); err != nil {
			return u, err
		}
		for i := range u.apps {
			delete(names, types.NamespacedName{Namespace: u.apps[i].Namespace, Name: u.apps[i].Name})
		}
		for name := range names {
			u.gone = append(u.gone, name)
		}
		return u, nil
	}
	for name := range names {
		app, err := f.clients.apps.HTTPApps(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			u.gone = append(u.gone, name)
		case err != nil:
			return u, err
		default:
			u.apps = append(u.apps, *app)
		}
	}
	return u, nil
}
