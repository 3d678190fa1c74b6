package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kedahttp/kedahttp/hack/cluster/image"
	"github.com/spf13/cobra"
)

func newImageCommand() *cobra.Command {
	var (
		spec     image.Spec
		binaries []string
		out      string
		format   string
	)
	cmd := &cobra.Command{
		Use:   "image --entrypoint PATH --binary [ARCH=]FILE... --name REF --out FILE.tar",
		Short: "Make a container image of one static binary",
		Long: "Make a container image of one static binary, in one layer, to be run by user 65532. With a binary for each of several architectures it is\n" +
			"one image for all of them. The same input always makes the same bytes.",
		Example: "  cluster image --entrypoint /app --binary bin/app --name example/app:dev --out app.tar\n" +
			"  cluster image --entrypoint /app --binary amd64=bin/amd64/app --binary arm64=bin/arm64/app --name example/app:dev --out app.tar",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := image.ParseFormat(format)
			if err != nil {
				return err
			}
			var all []image.Spec
			for _, binary := range binaries {
				one := spec
				if arch, file, ok := strings.Cut(binary, "="); ok {
					one.Arch, one.Binary = arch, file
				} else {
					one.Binary = binary
				}
				all = append(all, one)
			}
			var digest string
			switch {
			case len(all) > 1 && f == image.OCI:
				digest, err = image.WriteAll(out, all)
			case len(all) > 1:
				err = errors.New("an image for several architectures is written as oci")
			default:
				if err = all[0].Write(out, f); err == nil {
					digest, err = all[0].Digest()
				}
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", out, digest)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&spec.Entrypoint, "entrypoint", "", "where the binary is in the image, for example /app")
	flags.StringArrayVar(&binaries, "binary", nil, "the static binary, or with ARCH= one of those for several architectures")
	flags.StringVar(&spec.Name, "name", "", "the image's name, for example example/app:dev")
	flags.StringVar(&out, "out", "", "the tarball to write")
	flags.StringVar(&format, "format", string(image.OCI), "docker or oci; containerd reads both")
	flags.StringToStringVar(&spec.Labels, "label", nil, "a label KEY=VALUE; may be repeated")
	for _, name := range []string{"entrypoint", "binary", "name", "out"} {
		cmd.MarkFlagRequired(name) //nolint:errcheck // the flag exists
	}
	return cmd
}

func newLoadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load NAME FILE.tar...",
		Short: "Load image tarballs into a cluster",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, _, err := running(cmd, args[0])
			if err != nil {
				return err
			}
			for _, file := range args[1:] {
				if _, err := os.Stat(file); err != nil {
					return err
				}
				err := report(cmd).Step("load "+filepath.Base(file), func() error { return n.Import(cmd.Context(), file) })
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}
