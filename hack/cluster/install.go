package main

import "github.com/spf13/cobra"

func newInstallCommand() *cobra.Command { return &cobra.Command{Use: "install"} }
