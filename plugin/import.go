package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/kedahttp/kedahttp/plugin/migrate"
)

type importOptions struct {
	*session
	// wanted are KIND/NAME, in lower case.
	wanted        []string
	all           bool
	allNamespaces bool
	file          string
	output        string
}

func newImportCommand(s *session) *cobra.Command {
	o := &importOptions{session: s}
	cmd := &cobra.Command{
		Use:   "import (KIND/NAME... | --all | -f FILE)",
		Short: "Print the apps that objects of the KEDA HTTP add-on or of Knative would be",
		Long: "Print the apps that objects of other systems would be: HTTPScaledObjects and InterceptorRoutes of the KEDA HTTP add-on, the latter\n" +
			"with their ScaledObjects, and Knative's Services with their DomainMappings. Nothing is changed; to deploy or kubectl apply it makes\n" +
			"the apps.\n\n" +
			"What does not translate, is otherwise than it was, or is to be done by hand, is said in comments in front of each app, and on\n" +
			"stderr. With -f the objects, also the ScaledObjects and Services that they name, are read from files and from no cluster.",
		Example: s.examples("import httpscaledobject/shop > shop.yaml", "import ksvc/hello ksvc/world", "import --all -A -o json",
			"import -f old/ > new.yaml"),
		RunE: s.runs(o),
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "All of them in the namespace.")
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "With --all: in every namespace.")
	cmd.Flags().StringVarP(&o.file, "filename", "f", "", "Files with them, a folder of those, or - for stdin.")
	cmd.Flags().StringVarP(&o.output, "output", "o", "yaml", "yaml or json. In JSON there are no comments.")
	completeOutput(cmd, []string{"yaml", "json"})
	cmd.ValidArgsFunction = cobra.FixedCompletions([]string{"httpscaledobject/", "interceptorroute/", "ksvc/"}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace)
	return cmd
}

func (o *importOptions) complete(_ *cobra.Command, args []string) error {
	for _, arg := range args {
		kind, name, ok := strings.Cut(strings.ToLower(arg), "/")
		if !ok || name == "" {
			return fmt.Errorf("%s is not KIND/NAME, such as httpscaledobject/shop", arg)
		}
		kind, ok = migrate.KindOf(kind)
		if !ok {
			return fmt.Errorf("a %s cannot be imported; httpscaledobject, interceptorroute and ksvc can", kind)
		}
		o.wanted = append(o.wanted, kind+"/"+name)
	}
	return nil
}

func (o *importOptions) validate() error {
	some := 0
	for _, said := range []bool{len(o.wanted) > 0, o.all, o.file != ""} {
		if said {
			some++
		}
	}
	switch {
	case some != 1 && (o.file == "" || o.all):
		return errors.New("say what: one KIND/NAME or more, --all, or -f FILE")
	case o.allNamespaces && !o.all:
		return errors.New("--all-namespaces is for --all")
	}
	return validateOutput(o.output)
}

func (o *importOptions) run(ctx context.Context) error {
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	var objects []*unstructured.Unstructured
	if o.file != "" {
		objects, err = o.fromFiles(namespace)
	} else {
		if err := o.served(); err != nil {
			return err
		}
		if o.allNamespaces {
			namespace = metav1.NamespaceAll
		}
		objects, err = o.fromCluster(ctx, namespace)
	}
	if err != nil {
		return err
	}
	results, err := migrate.Apps(objects)
	if err != nil {
		return err
	}
	left := slices.Clone(o.wanted)
	made, failed := 0, 0
	for i := range results {
		r := &results[i]
		if len(o.wanted) > 0 {
			id := strings.ToLower(r.Kind + "/" + r.Name)
			if !slices.Contains(o.wanted, id) {
				continue
			}
			left = slices.DeleteFunc(left, func(w string) bool { return w == id })
		}
		if r.App == nil {
			failed++
		} else {
			made++
		}
		if err := o.tellImport(r, made); err != nil {
			return err
		}
	}
	switch {
	case len(left) > 0:
		return fmt.Errorf("there is no %s", strings.Join(left, ", "))
	case failed > 0:
		return fmt.Errorf("of %d nothing could be made; why is said above", failed)
	case made == 0:
		return errors.New("there is nothing to import: no HTTPScaledObject, InterceptorRoute or Knative Service")
	}
	return nil
}

// tellImport prints an app as somebody would have written it, with what there is to say of it.
func (o *importOptions) tellImport(r *migrate.Result, number int) error {
	from := fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name)
	for _, note := range r.Notes {
		fmt.Fprintf(o.ErrOut, "%s: %s\n", from, note)
	}
	if r.App == nil {
		return nil
	}
	clean, err := written(r.App, true)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printAs(o.Out, "json", clean.Object)
	}
	text, err := yaml.Marshal(clean.Object)
	if err != nil {
		return err
	}
	if number > 1 {
		fmt.Fprintln(o.Out, "---")
	}
	fmt.Fprintf(o.Out, "# From %s.\n", from)
	for _, note := range r.Notes {
		fmt.Fprintf(o.Out, "# - %s\n", strings.ReplaceAll(note, "\n", " "))
	}
	_, err = o.Out.Write(text)
	return err
}

// fromFiles reads whatever is in files.
func (o *importOptions) fromFiles(namespace string) ([]*unstructured.Unstructured, error) {
	infos, err := o.readFiles(o.file)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, info := range infos {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(info.Object)
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{Object: content}
		if object.GetNamespace() == "" {
			object.SetNamespace(namespace)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// served says what is wrong if the cluster does not have a kind that was asked for.
func (o *importOptions) served() error {
	mapper, err := o.factory.ToRESTMapper()
	if err != nil {
		return err
	}
	for _, kind := range migrate.Kinds {
		asked := slices.IndexFunc(o.wanted, func(w string) bool { return strings.HasPrefix(w, strings.ToLower(kind.Kind)+"/") })
		if asked < 0 {
			continue
		}
		if _, err := mapper.RESTMapping(kind); meta.IsNoMatchError(err) {
			return fmt.Errorf("there is no %s: the cluster does not know the kind %s\nObjects in files are imported without it: %s import -f FILE", o.wanted[asked], kind, o.calledAs)
		}
	}
	return nil
}

// fromCluster reads all that is or concerns an app of another system. Kinds that the cluster does not have are none.
func (o *importOptions) fromCluster(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	mapper, err := o.factory.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	client, err := o.factory.DynamicClient()
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	list := func(kinds []schema.GroupKind) error {
		for _, kind := range kinds {
			mapping, err := mapper.RESTMapping(kind)
			if meta.IsNoMatchError(err) {
				continue
			}
			if err != nil {
				return err
			}
			items, err := client.Resource(mapping.Resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if apierrors.IsNotFound(err) {
				continue // kinds are remembered for a while, and this one has gone since
			}
			if err != nil {
				return err
			}
			for i := range items.Items {
				objects = append(objects, &items.Items[i])
			}
		}
		return nil
	}
	if err := list(migrate.Kinds); err != nil {
		return nil, err
	}
	if len(objects) == 0 {
		return nil, nil
	}
	err = list(migrate.Others)
	return objects, err
}
