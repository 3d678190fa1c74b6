package plugin

import (
	"fmt"
	"io"
	"maps"

	"github.com/spf13/cobra"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/kubernetes/scheme"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// printable knows the kinds of all that is printed.
var printable = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, scheme.AddToScheme} {
		if err := add(s); err != nil {
			panic(err) // two types under one name
		}
	}
	return s
}()

// writing is what every command that changes something takes: --dry-run and -o.
type writing struct {
	strategy cmdutil.DryRunStrategy
	print    *genericclioptions.PrintFlags
	// printer is made once: it puts what separates them between several objects.
	printer printers.ResourcePrinter
}

// newWriting makes the flags of a command that reports with a verb in the past, such as scaled.
func newWriting(done string) writing {
	return writing{print: genericclioptions.NewPrintFlags(done).WithTypeSetter(printable)}
}

func (w *writing) addFlags(cmd *cobra.Command) {
	cmdutil.AddDryRunFlag(cmd)
	w.print.AddFlags(cmd)
	completeOutput(cmd, w.print.AllowedFormats())
	completeWords(cmd, "dry-run", "none", "server", "client")
}

func (w *writing) complete(cmd *cobra.Command) (err error) {
	w.strategy, err = cmdutil.GetDryRunStrategy(cmd)
	return err
}

// validate finds a format that there is none of before anything is changed.
func (w *writing) validate() error {
	_, err := w.print.ToPrinter()
	return err
}

// asked says whether the user wants the object and not only to hear that it was done.
func (w *writing) asked() bool { return w.print.OutputFormat != nil && *w.print.OutputFormat != "" }

// tell prints what was written: the object as it was asked for, or that it was done.
func (w *writing) tell(out io.Writer, object runtime.Object) error {
	if w.printer == nil {
		var err error
		if w.printer, err = cmdutil.PrintFlagsWithDryRunStrategy(w.print, w.strategy).ToPrinter(); err != nil {
			return usageError(err)
		}
	}
	return w.printer.PrintObj(object, out)
}

// tellDone is tell for commands that do several things, such as applied and deleted.
func (w *writing) tellDone(out io.Writer, done string, object *unstructured.Unstructured) error {
	if w.asked() {
		return w.tell(out, object)
	}
	_, err := fmt.Fprintf(out, "%s %s%s\n", describeObject(object), done, dryRunNote(w.strategy))
	return err
}

// tellChange is tell of an app that was changed, or that was like that already.
func (w *writing) tellChange(out io.Writer, before, after *v1alpha1.HTTPApp) error {
	if apiequality.Semantic.DeepEqual(before.Spec, after.Spec) && maps.Equal(before.Annotations, after.Annotations) {
		w.print.NamePrintFlags.Operation = "unchanged"
	}
	return w.tell(out, after)
}

func completeOutput(cmd *cobra.Command, formats []string) { completeWords(cmd, "output", formats...) }

// completeWords lets shells complete a flag that takes one of a few words.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// tellScale prints a scale that was written, or that the app was scaled.
func (w *writing) tellScale(out io.Writer, scale *autoscalingv1.Scale) error {
	if w.asked() && *w.print.OutputFormat != "name" {
		return w.tell(out, scale)
	}
	return w.tell(out, &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Name: scale.Name, Namespace: scale.Namespace}})
}

// dryRunNote is what kubectl's own commands add to what was only tried.
func dryRunNote(strategy cmdutil.DryRunStrategy) string {
	switch strategy {
	case cmdutil.DryRunClient:
		return " (dry run)"
	case cmdutil.DryRunServer:
		return " (server dry run)"
	}
	return ""
}
