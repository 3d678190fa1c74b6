package recordstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kedahttp/kedahttp/apiserver/storage/record"
)

// translate says what an error of the host means for the objects. Above all, "not found" is said only when the host says it of
// the record itself: whoever hears it of an object believes that the object is gone, and the garbage collector acts on it.
func (s *Store) translate(ctx context.Context, err error, key, name string) error {
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return apierrors.NewTimeoutError(fmt.Sprintf("the host cluster did not answer for %s in time", s.Resource), 1)
		}
		return ctx.Err()
	}
	var apiStatus apierrors.APIStatus
	if !errors.As(err, &apiStatus) {
		// The URL says more of the host than a user should have to read.
		var withURL *url.Error
		if errors.As(err, &withURL) {
			err = withURL.Err
		}
		return apierrors.NewServiceUnavailable(fmt.Sprintf("the host cluster, which keeps the %s, cannot be reached: %v", s.Resource, err))
	}
	status := apiStatus.Status()
	switch {
	case apierrors.IsNotFound(err):
		d := status.Details
		switch {
		case d != nil && d.Kind == record.Resource.Resource && name != "" && d.Name == name && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse):
			return storage.NewKeyNotFoundError(key, 0)
		case d != nil && d.Kind == "namespaces":
			return err
		}
		return s.unavailable("the CustomResourceDefinition of their records is not installed or not served yet")
	case apierrors.IsMethodNotSupported(err):
		return s.unavailable("the CustomResourceDefinition of their records is being deleted")
	case apierrors.IsBadRequest(err) && strings.Contains(status.Message, "field label not supported"):
		return apierrors.NewBadRequest(fmt.Sprintf("%s can be selected by this field only on Kubernetes 1.31 or later, and with the present CustomResourceDefinition of their records; the host cluster says: %s", s.Resource, status.Message))
	case apierrors.IsAlreadyExists(err):
		return storage.NewKeyExistsError(key, 0)
	case apierrors.IsConflict(err):
		return storage.NewResourceVersionConflictsError(key, 0)
	case apierrors.IsForbidden(err) && strings.Contains(status.Message, `" cannot `), apierrors.IsUnauthorized(err):
		// The host's authorizer says who cannot do what. It is this server that may not, not the user. Everything else that is
		// forbidden, by a policy, a quota or the end of the namespace, is so for the user.
		return s.unavailable("the host cluster does not let this server at their records; look at its ServiceAccount's roles")
	case apierrors.IsRequestEntityTooLargeError(err), strings.Contains(status.Message, "request is too large"):
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("%s %q is larger than the host cluster can store", s.Resource, name))
	}
	return &apierrors.StatusError{ErrStatus: *s.rewrite(&status)}
}

func (s *Store) unavailable(why string) error {
	e := apierrors.NewServiceUnavailable(fmt.Sprintf("%s cannot be served now: %s", s.Resource, why))
	e.ErrStatus.Code = http.StatusServiceUnavailable
	return e
}

// rewrite makes a status of a record one of its object.
func (s *Store) rewrite(status *metav1.Status) *metav1.Status {
	status = status.DeepCopy()
	status.Message = strings.ReplaceAll(status.Message, record.Resource.GroupResource().String(), s.Resource.String())
	status.Message = strings.ReplaceAll(status.Message, record.Resource.Resource, s.Resource.Resource)
	if d := status.Details; d != nil && d.Kind == record.Resource.Resource {
		d.Group, d.Kind, d.UID = s.Resource.Group, s.Resource.Resource, ""
	}
	return status
}
