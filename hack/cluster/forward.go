package main

import (
	"errors"
	"net"
	"os"
	"os/signal"

	"github.com/kedahttp/kedahttp/hack/cluster/forward"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// newForwardCommand is what `up` starts in the cluster's network namespace, with a listener of the host's as descriptor 3.
func newForwardCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "forward TARGET",
		Short:  "Carry the connections of an inherited listener to an address in this network namespace",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			signal.Reset(os.Interrupt, unix.SIGTERM) // nothing to tidy up
			f := os.NewFile(3, "listener")
			if f == nil {
				return errors.New("no listener was handed over as descriptor 3: `cluster up` starts this command")
			}
			l, err := net.FileListener(f)
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			return forward.Serve(l, args[0])
		},
	}
	cmd.Flags().String("from", "", "the listener's address, for whoever looks at the list of processes")
	return cmd
}
