package routing

import (
	"cmp"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// Claim is a route that an app names.
type Claim struct {
	Host, PathPrefix string
	Headers          []v1alpha1.HeaderMatch
	// Owner is the app that gets its requests.
	Owner types.NamespacedName
}

// Claims are an app's, in the order of its routes.
func (t *Table[T]) Claims(app types.NamespacedName) []Claim {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := t.apps[app].keys
	claims := make([]Claim, 0, len(keys))
	for _, key := range keys {
		owner := t.index.Owner(key)
		claims = append(claims, Claim{
			Host: key.Host, PathPrefix: cmp.Or(key.PathPrefix, "/"), Headers: key.Headers(),
			Owner: types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name},
		})
	}
	return claims
}
