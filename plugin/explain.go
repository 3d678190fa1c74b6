package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func detailsOf(err error) metav1.StatusDetails {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		return *status.Status().Details
	}
	return metav1.StatusDetails{}
}

// wrongFlag explains why a flag does not take a value.
func wrongFlag(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) || invalid.GetFlag().Value.Type() != "duration" {
		return err
	}
	name, value := invalid.GetFlag().Name, invalid.GetValue()
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		return fmt.Errorf("--%s is %q: say of what, such as %ss, %sm or %sh", name, value, value, value, value)
	}
	return fmt.Errorf("--%s is %q; a duration is written as 90s, 5m or 1h30m", name, value)
}

// refusal is what a request for which somebody has no right is told: cannot VERB resource "RESOURCE" in API group "GROUP" ... in
// the namespace "NAMESPACE".
var refusal = regexp.MustCompile(`cannot ([a-z]+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`)

// unknownResource is how kubectl's own commands say that nobody serves apps.
const unknownResource = `doesn't have a resource type "` + resource + `"`

// explain adds what to do next to an error that a user can do something about.
func (s *session) explain(err error) error {
	// kubectl's own commands collect their errors, and what is collected cannot be looked into.
	if all, ok := err.(utilerrors.Aggregate); ok && len(all.Errors()) == 1 {
		return s.explain(all.Errors()[0])
	}
	var exit exitError
	var missing *missingError
	var conflict *conflictError
	var gone *goneError
	var noMatch *meta.NoKindMatchError
	var noResource *meta.NoResourceMatchError
	var transport *url.Error
	var network net.Error
	next := func(format string, args ...any) error {
		return fmt.Errorf("%w\n"+format, append([]any{err}, args...)...)
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return err
	case errors.As(err, &missing):
		return next("All apps of the namespace: %s list -n %s", s.calledAs, missing.namespace)
	case errors.As(err, &conflict):
		return next("Give it another: %s set host -n %s %s HOST", s.calledAs, conflict.app.Namespace, conflict.app.Name)
	case errors.As(err, &gone):
		return next("Make it again, or delete the app: %s delete -n %s %s", s.calledAs, gone.app.Namespace, gone.app.Name)
	case isMissing(err) && detailsOf(err).Group == v1alpha1.GroupName && detailsOf(err).Kind == resource:
		return next("All apps: %s list -A", s.calledAs)
	case apierrors.IsNotFound(err) && detailsOf(err).Group == "" && detailsOf(err).Kind == "namespaces":
		return next("Make it: kubectl create namespace %s. Or choose another: -n NAMESPACE", detailsOf(err).Name)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case noCluster(err):
		return fmt.Errorf("there is no cluster to ask: %w\nChoose one: kubectl config get-contexts, or --kubeconfig FILE", err)
	case isNotServed(err), errors.As(err, &noMatch), errors.As(err, &noResource), strings.Contains(err.Error(), unknownResource):
		return fmt.Errorf("the cluster does not serve %s: kedahttp is not installed in it (%w)\nInstall it: %s install --help", v1alpha1.SchemeGroupVersion, err, s.calledAs)
	case apierrors.IsServiceUnavailable(err):
		return fmt.Errorf("kedahttp's API server does not answer: %w\nWhat is wrong with it: %s doctor", err, s.calledAs)
	case apierrors.IsUnauthorized(err):
		return next("The cluster does not know you: log in again, or choose another --context or --user")
	case apierrors.IsForbidden(err):
		if m := refusal.FindStringSubmatch(err.Error()); m != nil {
			verb, of, group, namespace := m[1], m[2], m[3], m[4]
			if group != "" {
				of += "." + group
			}
			where := "--all-namespaces"
			if namespace != "" {
				where = "-n " + namespace
			}
			return next("The right to %s %s is missing; who may administer the namespace can give it, with the role edit or view. Check: kubectl auth can-i %s %s %s", verb, of, verb, of, where)
		}
		return err
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return timeoutError(err)
	case errors.As(err, &transport) && errors.As(err, &network):
		return fmt.Errorf("the cluster does not answer at %s: %w\nWhich one is meant: kubectl config current-context", hostOf(transport.URL), transport.Err)
	default:
		return err
	}
}

// noContext is how client-go says that a context which was named is not there.
var noContext = regexp.MustCompile(`^(context|cluster|auth info) "[^"]*" does not exist$`)

// noCluster says that the configuration names no cluster.
func noCluster(err error) bool {
	return err != nil && (clientcmd.IsEmptyConfig(err) || errors.Is(err, clientcmd.ErrNoContext) || clientcmd.IsContextNotFound(err) ||
		clientcmd.IsConfigurationInvalid(err) || noContext.MatchString(err.Error()))
}

// isNotServed says that the API itself is not there, not only an object.
func isNotServed(err error) bool {
	details := detailsOf(err)
	// Whoever serves an API says what is missing in words of its own.
	nobody := slices.ContainsFunc(details.Causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeUnexpectedServerResponse })
	return apierrors.IsNotFound(err) && (details.Name == "" || nobody) && (details.Group == v1alpha1.GroupName || details.Group == "")
}

func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return address
}
