package routing

import (
	"cmp"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Claim is a route that an app names.
type Claim[T any] struct {
	Host, PathPrefix string
	Headers          []v1alpha1.HeaderMatch
	// Owner is the app that gets its requests.
	Owner types.NamespacedName
	// To is where its requests go if it is the app's.
	To T
}

// Claims are an app's, in the order of its routes.
func (t *Table[T]) Claims(app types.NamespacedName) []Claim[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.apps[app]
	claims := make([]Claim[T], 0, len(e.keys))
	for i, key := range e.keys {
		owner := t.index.Owner(key)
		claims = append(claims, Claim[T]{
			Host: key.Host, PathPrefix: cmp.Or(key.PathPrefix, "/"), Headers: key.Headers(),
			Owner: types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}, To: e.to[i],
		})
	}
	return claims
}
