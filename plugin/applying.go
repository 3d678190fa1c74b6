package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// applying is how an edition comes into the cluster.
type applying struct {
	writing
	noWait      bool
	waitTimeout time.Duration
}

func (a *applying) addFlags(cmd *cobra.Command) {
	a.writing.addFlags(cmd)
	cmd.Flags().BoolVar(&a.noWait, "no-wait", false, "Do not wait until it answers.")
	cmd.Flags().DurationVar(&a.waitTimeout, "wait-timeout", 5*time.Minute, "How long to wait; exit code 3 if it takes longer.")
}

// finish waits until what was applied answers, and removes what is left of an earlier version.
func (a *applying) finish(ctx context.Context, c *clients, i *installer, objects, left []*unstructured.Unstructured) error {
	if a.strategy != cmdutil.DryRunNone || a.noWait {
		return i.remove(ctx, left)
	}
	limited, cancel := context.WithTimeout(ctx, a.waitTimeout)
	defer cancel()
	if err := i.await(limited, c, objects); err != nil {
		return err
	}
	// Only now: the replicas of the earlier version may have needed them.
	if err := i.remove(ctx, left); err != nil {
		return err
	}
	fmt.Fprintf(i.ErrOut, "kedahttp answers. Let *.DOMAIN lead to the Service kedahttp-interceptor in %s, and see: %s doctor\n", usualNamespace, i.calledAs)
	return nil
}
