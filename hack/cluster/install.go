package main

import (
	"path/filepath"

	"github.com/kedahttp/kedahttp/hack/cluster/install"
	"github.com/spf13/cobra"
)

func newInstallCommand() *cobra.Command {
	var (
		repo       string
		overlay    string
		imagesOnly bool
	)
	cmd := &cobra.Command{
		Use:   "install NAME",
		Short: "Build the project's work tree and run it in a cluster",
		Long: `Build the programs of a work tree (cmd/apiserver, cmd/interceptor, cmd/scaler, and test/images/*), load their images
into the cluster, apply ` + install.Overlay + ` or another overlay, and wait until everything runs. After a change of the code, call it
again: deployments whose image's content has changed are rolled out anew, the others are left alone.`,
		Args: oneCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, state, err := running(cmd, args[0])
			if err != nil {
				return err
			}
			unlock, err := lock(cmd, n.Cluster)
			if err != nil {
				return err
			}
			defer unlock()
			dir, err := filepath.Abs(repo)
			if err != nil {
				return err
			}
			i := install.Installer{Repo: dir, Overlay: overlay, Node: n, HTTPPort: state.Ports.HTTP, HTTPSPort: state.Ports.HTTPS, Progress: report(cmd)}
			if imagesOnly {
				_, err := i.Images(cmd.Context())
				return err
			}
			if err := i.Run(cmd.Context()); err != nil {
				return err
			}
			i.Progress.Printf("%s is installed in cluster %s", dir, n.Name)
			return nil
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "the project's work tree")
	cmd.Flags().StringVar(&overlay, "overlay", install.Overlay, "the manifests, a folder of the work tree")
	cmd.Flags().BoolVar(&imagesOnly, "images-only", false, "build and load the images, and apply nothing")
	return cmd
}
