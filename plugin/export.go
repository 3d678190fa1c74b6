package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type exportOptions struct {
	*session
	names         []string
	all           bool
	labels        string
	output        string
	withNamespace bool
}

func newExportCommand(s *session) *cobra.Command {
	o := &exportOptions{session: s}
	cmd := &cobra.Command{
		Use:   "export (NAME... | --all | -l SELECTOR)",
		Short: "Print apps as somebody would have written them, for Git",
		Long: "Print apps as somebody would have written them: without what they are at the moment, what the server has added, and what would\n" +
			"be the same by default. To deploy or kubectl apply it makes the same app.",
		Example:           s.examples("export hello > hello.yaml", "export --all -n shop"),
		ValidArgsFunction: s.completeApp(0),
		RunE:              s.runs(o),
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "All apps of the namespace.")
	cmd.Flags().StringVarP(&o.labels, "selector", "l", "", "The apps with these labels.")
	cmd.Flags().BoolVar(&o.withNamespace, "with-namespace", false, "With the namespace. Without it the apps fit into any.")
	cmd.Flags().StringVarP(&o.output, "output", "o", "yaml", "yaml or json.")
	completeOutput(cmd, []string{"yaml", "json"})
	return cmd
}

func (o *exportOptions) complete(_ *cobra.Command, args []string) error {
	o.names = args
	return nil
}

func (o *exportOptions) validate() error {
	some := 0
	for _, said := range []bool{len(o.names) > 0, o.all, o.labels != ""} {
		if said {
			some++
		}
	}
	if some != 1 {
		return errors.New("say which apps: one NAME or more, --all, or -l SELECTOR")
	}
	return validateOutput(o.output)
}

func (o *exportOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	var apps []v1alpha1.HTTPApp
	for _, name := range o.names {
		app, err := c.get(ctx, name)
		if err != nil {
			return err
		}
		apps = append(apps, *app)
	}
	if len(o.names) == 0 {
		list, err := c.apps.HTTPApps(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: o.labels})
		if err != nil {
			return err
		}
		apps = list.Items
	}
	for i := range apps {
		if hostsAreDefault(&apps[i]) {
			apps[i].Spec.Routes = nil
		}
		clean, err := written(&apps[i], o.withNamespace)
		if err != nil {
			return err
		}
		if o.output == "json" {
			if err := printAs(o.Out, "json", clean.Object); err != nil {
				return err
			}
			continue
		}
		text, err := yaml.Marshal(clean.Object)
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(o.Out, "---")
		}
		if _, err := o.Out.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// noise are annotations that tools have left.
var noise = []string{"kubectl.kubernetes.io/last-applied-configuration", heldAnnotation}

// written is the app as somebody would have written it.
func written(app *v1alpha1.HTTPApp, withNamespace bool) (*unstructured.Unstructured, error) {
	app = app.DeepCopy()
	release(app)
	app.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp"}
	metadata := metav1.ObjectMeta{Name: app.Name, Labels: app.Labels, Annotations: app.Annotations}
	if withNamespace {
		metadata.Namespace = app.Namespace
	}
	for _, key := range noise {
		delete(metadata.Annotations, key)
	}
	app.ObjectMeta, app.Status = metadata, v1alpha1.HTTPAppStatus{}
	object, err := manifest(app)
	if err != nil {
		return nil, err
	}
	if spec, ok := object.Object["spec"].(map[string]any); ok {
		if err := dropDefaults(object.Object, spec); err != nil {
			return nil, err
		}
	}
	dropEmpty(object.Object)
	if m, ok := object.Object["metadata"].(map[string]any); ok {
		for _, key := range []string{"labels", "annotations"} {
			if inner, ok := m[key].(map[string]any); ok && len(inner) == 0 {
				delete(m, key)
			}
		}
	}
	return object, nil
}

// hostsAreDefault says that the app's one route is the one that the server gives to apps without any: nobody has written it, and in
// another cluster the domain is another.
func hostsAreDefault(app *v1alpha1.HTTPApp) bool {
	if len(app.Spec.Routes) != 1 {
		return false
	}
	route := app.Spec.Routes[0]
	if len(route.Hosts) != 1 || route.PathPrefix != "" && route.PathPrefix != "/" || len(route.Headers) > 0 || route.Static != nil {
		return false
	}
	if !strings.HasPrefix(route.Hosts[0], app.Name+"."+app.Namespace+".") {
		return false
	}
	for _, entry := range app.ManagedFields {
		var owned struct {
			Spec map[string]any `json:"f:spec"`
		}
		if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		// Whoever creates an app otherwise than by server-side apply owns the defaults, too.
		if _, said := owned.Spec["f:routes"]; said && entry.Operation == metav1.ManagedFieldsOperationApply {
			return false
		}
	}
	return true
}

// dropDefaults removes every field of an object without which it would be the same: the server would fill it in.
func dropDefaults(object map[string]any, at any) error {
	whole, err := defaulted(object)
	if err != nil {
		return err
	}
	same := func() bool {
		without, err := defaulted(object)
		return err == nil && equality.Semantic.DeepEqual(whole, without)
	}
	var visit func(any)
	visit = func(at any) {
		switch v := at.(type) {
		case map[string]any:
			for key, inner := range v {
				delete(v, key)
				if same() {
					continue
				}
				v[key] = inner
				visit(inner)
			}
		case []any:
			for _, inner := range v {
				visit(inner)
			}
		}
	}
	visit(at)
	return nil
}

// defaulted is the app that an object would be to the server.
func defaulted(object map[string]any) (*v1alpha1.HTTPApp, error) {
	app := &v1alpha1.HTTPApp{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, app); err != nil {
		return nil, err
	}
	v1alpha1.SetObjectDefaults_HTTPApp(app)
	if app.Spec.Template != nil {
		defaultPods(app.Spec.Template)
	}
	return app, nil
}
