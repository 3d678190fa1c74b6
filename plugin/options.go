package plugin

import "github.com/spf13/cobra"

func newOptionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags that every command has",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write([]byte(cmd.InheritedFlags().FlagUsages()))
			return err
		},
	}
}
