// Command fields writes the page of all fields of an HTTPApp, from the Go types and what is published of them.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/apis/openapi"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: fields FILE")
		os.Exit(2)
	}
	var page bytes.Buffer
	err := write(&page)
	if err == nil {
		err = os.WriteFile(os.Args[1], page.Bytes(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const introduction = `# HTTPApp

All fields of ` + "`" + v1alpha1.GroupName + "/v1alpha1" + "`" + `, made by ` + "`make generate`" + ` from the Go types. It is what ` + "`kubectl explain httpapp --recursive`" + ` knows, too. A field with
a * has to be there when the object that it is in is.
`

// model is a type that has a name in the published schema.
type model interface{ OpenAPIModelName() string }

var ours = reflect.TypeFor[v1alpha1.HTTPApp]().PkgPath()

func write(out io.Writer) error {
	schemas := openapi.GetOpenAPIDefinitions(func(name string) spec.Ref { return spec.MustCreateRef("#/" + name) })
	fmt.Fprint(out, introduction)
	// Breadth first: what an app is made of stands before the details.
	next := []reflect.Type{reflect.TypeFor[v1alpha1.HTTPApp]()}
	seen := map[reflect.Type]bool{next[0]: true}
	for len(next) > 0 {
		t := next[0]
		next = next[1:]
		if err := section(out, t, schemas); err != nil {
			return err
		}
		for f := range fields(t) {
			if of := element(f.Type); of.Kind() == reflect.Struct && of.PkgPath() == ours && !seen[of] {
				seen[of] = true
				next = append(next, of)
			}
		}
	}
	return nil
}

// fields are those of a struct that JSON has under a name of their own, with TypeMeta's.
func fields(t reflect.Type) func(func(reflect.StructField, string) bool) {
	return func(yield func(reflect.StructField, string) bool) {
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && (len(f.Index) == 1 || name == "apiVersion" || name == "kind") && !yield(f, name) {
				return
			}
		}
	}
}

func section(out io.Writer, t reflect.Type, schemas map[string]common.OpenAPIDefinition) error {
	name := reflect.New(t).Interface().(model).OpenAPIModelName()
	published, ok := schemas[name]
	if !ok {
		return fmt.Errorf("%s is not published as %s", t, name)
	}
	required := map[string]bool{}
	for _, f := range published.Schema.Required {
		required[f] = true
	}
	fmt.Fprintf(out, "\n## %s\n\n%s\n\n| field | type | |\n| --- | --- | --- |\n", t.Name(), cell(published.Schema.Description))
	for f, name := range fields(t) {
		schema, ok := published.Schema.Properties[name]
		if !ok {
			return fmt.Errorf("%s of %s is not published", name, t)
		}
		star := ""
		if required[name] {
			star = " *"
		}
		fmt.Fprintf(out, "| `%s`%s | %s | %s |\n", name, star, kind(f.Type), cell(schema.Description))
	}
	return nil
}

// element is what a pointer points to or a list is of.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

// written is how Kubernetes' types that are objects in Go alone are written.
var written = map[reflect.Type]string{
	reflect.TypeFor[metav1.Duration]():    "duration, such as `90s`",
	reflect.TypeFor[metav1.MicroTime]():   "time",
	reflect.TypeFor[resource.Quantity]():  "quantity, such as `2` or `500m`",
	reflect.TypeFor[intstr.IntOrString](): "integer or string",
}

// kind is a type as a reader of YAML knows it, with a link to where it is told of.
func kind(t reflect.Type) string {
	switch of := element(t); {
	case t.Kind() == reflect.Slice:
		return "list of " + kind(of)
	case of.Kind() == reflect.Struct && of.PkgPath() == ours:
		return fmt.Sprintf("[%s](#%s)", of.Name(), strings.ToLower(of.Name()))
	case written[of] != "":
		return written[of]
	case of.Kind() == reflect.Struct:
		return "Kubernetes' `" + of.Name() + "`"
	case of.Kind() == reflect.Bool:
		return "boolean"
	case of.Kind() == reflect.Int32, of.Kind() == reflect.Int64:
		return "integer"
	default:
		return of.Kind().String()
	}
}

func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
