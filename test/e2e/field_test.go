//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"sync"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/cli-runtime/pkg/resource"
)

// kubeconfig is what kubectl goes by when it has no flags; what it discovers is known to all tests.
var kubeconfig = sync.OnceValue(func() *genericclioptions.ConfigFlags { return genericclioptions.NewConfigFlags(true) })

// value is what kubectl get -o jsonpath=… prints of an object, by kubectl's own means. What is asked ten times a second until it is as it
// should be would have the processors do little else than start kubectls.
func (u user) value(object, jsonpath string) (string, error) {
	found, err := resource.NewBuilder(kubeconfig()).Unstructured().NamespaceParam(u.namespace).DefaultNamespace().
		ResourceTypeOrNameArgs(false, object).Do().Object()
	if err != nil {
		return "", fmt.Errorf("get %s: %w", object, err)
	}
	printer, err := printers.NewJSONPathPrinter(jsonpath)
	if err != nil {
		return "", fmt.Errorf("%s: %w", jsonpath, err)
	}
	printer.AllowMissingKeys(true)
	var out strings.Builder
	err = printer.PrintObj(found, &out)
	return out.String(), err
}

// field is an error when a field of an object is not what was wanted.
func (u user) field(object, jsonpath, want string) error {
	got, err := u.value(object, jsonpath)
	if err == nil && got != want {
		err = fmt.Errorf("%s of %s is %q, not %q", jsonpath, object, got, want)
	}
	return err
}
