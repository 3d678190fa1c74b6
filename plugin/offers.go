package plugin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	// patience is for how long somebody who presses Tab is kept waiting. What was found until then is offered.
	patience = 3 * time.Second
	// mostNames is how many objects are read at a time, or at all where that is only a help.
	mostNames = 500
)

// offer finds what a shell may complete a word to. What does not begin with the word is left out afterwards; what ends with / or =
// is gone on with. Where nothing can be found there is nothing to offer, and nobody to tell why.
type offer func(ctx context.Context, c *clients, cmd *cobra.Command, args []string, word string) []string

// completes makes of an offer what cobra completes by.
func (s *session) completes(o offer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		c, err := s.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), patience)
		defer cancel()
		directive := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		var fit []string
		for _, candidate := range o(ctx, c, cmd, args, word) {
			if !strings.HasPrefix(candidate, word) {
				continue
			}
			fit = append(fit, candidate)
			if strings.HasSuffix(candidate, "/") || strings.HasSuffix(candidate, "=") {
				directive |= cobra.ShellCompDirectiveNoSpace
			}
		}
		return fit, directive
	}
}

// completeApp lets shells complete the names of apps. most is how many the command takes; 0: any number.
func (s *session) completeApp(most int) cobra.CompletionFunc {
	return s.completes(func(ctx context.Context, c *clients, _ *cobra.Command, args []string, word string) []string {
		if most > 0 && len(args) >= most {
			return nil
		}
		names, _ := c.names(ctx, word) // what was found is offered
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
	})
}

// names are those of the namespace's apps that begin with a prefix, in their order: as many as are found before the context ends, and an
// error only when that is none.
func (c *clients) names(ctx context.Context, prefix string) (names []string, err error) {
	opts := metav1.ListOptions{Limit: mostNames}
	for {
		list, err := c.apps.HTTPApps(c.namespace).List(ctx, opts)
		if err != nil {
			if len(names) > 0 {
				err = nil
			}
			return names, err
		}
		beyond := false
		for _, app := range list.Items {
			if strings.HasPrefix(app.Name, prefix) {
				names = append(names, app.Name)
			} else {
				beyond = app.Name > prefix
			}
		}
		if opts.Continue = list.Continue; list.Continue == "" || beyond {
			return names, nil
		}
	}
}

// completeRevision lets shells complete the app and then what it can go back to, the latest first.
func (s *session) completeRevision() cobra.CompletionFunc {
	app := s.completeApp(1)
	revision := s.completes(func(ctx context.Context, c *clients, _ *cobra.Command, args []string, _ string) (found []string) {
		app, err := c.apps.HTTPApps(c.namespace).Get(ctx, args[0], metav1.GetOptions{})
		if err != nil {
			return nil
		}
		all, _ := c.revisions(ctx, app)
		for _, r := range slices.Backward(all) {
			if !r.Current {
				about := fmt.Sprintf("%s, %s ago", strings.Join(r.Images, ","), duration.HumanDuration(s.now().Sub(r.Created)))
				found = append(found, cobra.CompletionWithDesc(fmt.Sprint(r.Revision), about))
			}
		}
		return found
	})
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return app(cmd, args, word)
		case 1:
			return revision(cmd, args, word)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// ofFiles are the flags that name a file or a folder, which shells find themselves.
var ofFiles = []string{
	"filename", "kustomize", "report", "template", // ours, and those of kubectl's printers
	"kubeconfig", "cache-dir", "certificate-authority", "client-certificate", "client-key", // the connection's
}

// offers are what flags are completed by, by their names: a flag means the same in every command that has it.
func (s *session) offers() map[string]offer {
	return map[string]offer{
		"container":          containers,
		"env-from":           ofKinds("configmap", "secret"),
		"field-selector":     words(v1alpha1.FieldName+"=", v1alpha1.FieldAutoscaler+"=", v1alpha1.FieldServiceName+"=", v1alpha1.FieldWorkload+"=", v1alpha1.FieldReady+"="),
		"from":               ofKinds("deployment", "statefulset"),
		"gateway":            s.gateways,
		"ingress":            ingressClasses,
		"ingress-tls-secret": certificates,
		"label-columns":      labelKeys,
		"method":             words(http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete),
		"selector":           labelSelectors,
		"sort-by": words(".metadata.name", ".metadata.creationTimestamp", ".spec.scaling.maxReplicas", ".status.readyReplicas", ".status.traffic.coldStarts",
			".status.traffic.inFlight", ".status.traffic.lastRequestTime", ".status.traffic.pending"),
		"system-namespace": namespaces,
		"tls-secret":       certificates,
	}
}

// completeFlags lets shells complete the flags and arguments of a command and those below it: by what is offered for them, and by the
// names of files only where a file is meant.
func (s *session) completeFlags(cmd *cobra.Command, offers map[string]offer) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, done := cmd.GetFlagCompletionFunc(f.Name); done || f.Value.Type() == "bool" || slices.Contains(ofFiles, f.Name) {
			return
		}
		complete := cobra.NoFileCompletions
		if o := offers[f.Name]; o != nil {
			complete = s.completes(o)
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err) // there is no such flag
		}
	})
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range cmd.Commands() {
		s.completeFlags(sub, offers)
	}
}

func words(all ...string) offer {
	return func(context.Context, *clients, *cobra.Command, []string, string) []string { return all }
}

// namesOf are the names of what was listed.
func namesOf(list runtime.Object, err error) (names []string) {
	if err != nil {
		return nil
	}
	_ = meta.EachListItem(list, func(o runtime.Object) error { // a list of objects is one
		if object, err := meta.Accessor(o); err == nil {
			names = append(names, object.GetName())
		}
		return nil
	})
	return names
}

// some is as many objects as are offered.
var some = metav1.ListOptions{Limit: mostNames}

// ofKinds offers objects as KIND/NAME.
func ofKinds(kinds ...string) offer {
	return func(ctx context.Context, c *clients, _ *cobra.Command, _ []string, word string) (found []string) {
		kind, _, named := strings.Cut(word, "/")
		var names []string
		switch {
		case !named:
			for _, kind := range kinds {
				found = append(found, kind+"/")
			}
			return found
		case !slices.Contains(kinds, kind):
			return nil
		case kind == "configmap":
			names = namesOf(c.kubernetes.CoreV1().ConfigMaps(c.namespace).List(ctx, some))
		case kind == "secret":
			names = namesOf(c.kubernetes.CoreV1().Secrets(c.namespace).List(ctx, some))
		case kind == "deployment":
			names = namesOf(c.kubernetes.AppsV1().Deployments(c.namespace).List(ctx, some))
		case kind == "statefulset":
			names = namesOf(c.kubernetes.AppsV1().StatefulSets(c.namespace).List(ctx, some))
		}
		for _, name := range names {
			found = append(found, kind+"/"+name)
		}
		return found
	}
}

func certificates(ctx context.Context, c *clients, _ *cobra.Command, _ []string, _ string) []string {
	opts := some
	opts.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)).String()
	return namesOf(c.kubernetes.CoreV1().Secrets(c.namespace).List(ctx, opts))
}

func namespaces(ctx context.Context, c *clients, _ *cobra.Command, _ []string, _ string) []string {
	return namesOf(c.kubernetes.CoreV1().Namespaces().List(ctx, some))
}

func ingressClasses(ctx context.Context, c *clients, _ *cobra.Command, _ []string, _ string) []string {
	return append(namesOf(c.kubernetes.NetworkingV1().IngressClasses().List(ctx, some)), defaultClass, none)
}

var gatewaysResource = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}

// gateways are those of the user's namespace by their names, and others, if they may be seen, with their namespaces.
func (s *session) gateways(ctx context.Context, c *clients, _ *cobra.Command, _ []string, _ string) (found []string) {
	client, _, err := s.anything()
	if err != nil {
		return nil
	}
	all, err := client.Resource(gatewaysResource).List(ctx, some)
	if err != nil {
		all, err = client.Resource(gatewaysResource).Namespace(c.namespace).List(ctx, some)
	}
	if err != nil {
		return []string{none}
	}
	for _, gateway := range all.Items {
		name := gateway.GetName()
		if gateway.GetNamespace() != c.namespace {
			name = gateway.GetNamespace() + "/" + name
		}
		found = append(found, name)
	}
	return append(found, none)
}

// containers are those of the app that the command is for.
func containers(ctx context.Context, c *clients, _ *cobra.Command, args []string, _ string) (found []string) {
	if len(args) == 0 {
		return nil
	}
	app, err := c.apps.HTTPApps(c.namespace).Get(ctx, args[0], metav1.GetOptions{})
	if err != nil {
		return nil
	}
	var pods []corev1.PodSpec
	if app.Spec.Template != nil {
		pods = append(pods, app.Spec.Template.Spec)
	} else if selector, err := c.selector(ctx, app); err == nil {
		if list, err := c.kubernetes.CoreV1().Pods(app.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector, Limit: 20}); err == nil {
			for i := range list.Items {
				pods = append(pods, list.Items[i].Spec)
			}
		}
	}
	for _, pod := range pods {
		for _, container := range slices.Concat(pod.Containers, pod.InitContainers) {
			if !slices.Contains(found, container.Name) {
				found = append(found, container.Name)
			}
		}
	}
	return found
}

// labelsOf are the labels of the apps that the command is for, each with its values.
func labelsOf(ctx context.Context, c *clients, cmd *cobra.Command) map[string]map[string]bool {
	namespace := c.namespace
	if all, err := cmd.Flags().GetBool("all-namespaces"); err == nil && all {
		namespace = metav1.NamespaceAll
	}
	list, err := c.apps.HTTPApps(namespace).List(ctx, some)
	if err != nil {
		return nil
	}
	labels := map[string]map[string]bool{}
	for _, app := range list.Items {
		for key, value := range app.Labels {
			if labels[key] == nil {
				labels[key] = map[string]bool{}
			}
			labels[key][value] = true
		}
	}
	return labels
}

func labelKeys(ctx context.Context, c *clients, cmd *cobra.Command, _ []string, _ string) []string {
	return slices.Sorted(maps.Keys(labelsOf(ctx, c, cmd)))
}

// labelSelectors goes on with a selector: by a key or, after =, by one of its values.
func labelSelectors(ctx context.Context, c *clients, cmd *cobra.Command, _ []string, word string) (found []string) {
	before, last := "", word
	if at := strings.LastIndexByte(word, ','); at >= 0 {
		before, last = word[:at+1], word[at+1:]
	}
	key, _, valued := strings.Cut(last, "=")
	for k, values := range labelsOf(ctx, c, cmd) {
		switch {
		case !valued:
			found = append(found, before+k+"=")
		case k == key:
			for value := range values {
				found = append(found, before+k+"="+value)
			}
		}
	}
	slices.SortFunc(found, cmp.Compare)
	return found
}
