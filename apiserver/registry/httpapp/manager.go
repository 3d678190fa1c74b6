package httpapp

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"

	"github.com/kedahttp/kedahttp/apiserver/workload"
)

type managerKey struct{}

// WithManager notes in the context of requests who is the manager of the fields that they write if they name none: the program
// that sends them, as everywhere in Kubernetes. The generic API server knows it only of what it writes itself.
func WithManager(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), managerKey{}, program(r.UserAgent()))))
	})
}

// program is the name of a program in a User-Agent header, in the form that a manager's name must have.
func program(userAgent string) string {
	name, _, _ := strings.Cut(userAgent, "/")
	name = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, name)
	return strings.ToValidUTF8(name[:min(len(name), metav1validation.FieldManagerMaxLength)], "")
}

// passedOn are the options for the write to the workload.
func passedOn(ctx context.Context, options *metav1.UpdateOptions) metav1.UpdateOptions {
	if options == nil {
		options = &metav1.UpdateOptions{}
	}
	sender, _ := ctx.Value(managerKey{}).(string)
	return metav1.UpdateOptions{DryRun: options.DryRun, FieldManager: cmp.Or(options.FieldManager, sender, workload.FieldManager)}
}
