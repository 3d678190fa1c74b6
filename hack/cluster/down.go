package main

import (
	"fmt"

	"github.com/kedahttp/kedahttp/hack/cluster/cluster"
	"github.com/kedahttp/kedahttp/hack/cluster/node"
	"github.com/spf13/cobra"
)

func newDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down NAME",
		Short: "Take a cluster down and remove everything that it has made on this machine",
		Args:  oneCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.SystemRoots.Named(args[0])
			if err != nil {
				return err
			}
			if err := asRoot(); err != nil {
				return err
			}
			unlock, err := lock(cmd, c)
			if err != nil {
				return err
			}
			defer unlock()
			if err := report(cmd).Step("take cluster "+c.Name+" down", node.Of(c, report(cmd)).Remove); err != nil {
				return err
			}
			return c.Forget()
		},
	}
}

func newListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the clusters of this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := cluster.SystemRoots.All()
			if err != nil {
				return err
			}
			for _, c := range all {
				status := "stopped"
				if node.Of(c, report(cmd)).Running() {
					status = "running"
				}
				state, err := c.Load()
				if err != nil {
					status = "broken"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-*s  %s  %s\n", cluster.MaxNameLength, c.Name, status, httpAddress(state))
			}
			return nil
		},
	}
}
