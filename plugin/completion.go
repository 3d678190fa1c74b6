package plugin

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newCompletionCommand prints what lets shells complete the plugin.
func newCompletionCommand(s *session) *cobra.Command {
	plugin := strings.TrimPrefix(s.calledAs, "kubectl ")
	// kubectl looks for the completion of a-b under the name of its executable, a_b.
	file := "kubectl_complete-" + strings.ReplaceAll(plugin, "-", "_")
	return &cobra.Command{
		Use:   "completion",
		Short: "Print the executable by which kubectl completes the plugin",
		Long: "Print the executable by which kubectl completes the plugin: commands, flags, apps, namespaces and contexts.\n\n" +
			"Where kubectl's own completion is set up (see kubectl completion --help), put it into a folder of your PATH.",
		Example: fmt.Sprintf("  %s completion > ~/.local/bin/%s && chmod +x ~/.local/bin/%s", s.calledAs, file, file),
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(s.Out, "#!/bin/sh\nexec %s __complete \"$@\"\n", s.calledAs)
			return err
		},
	}
}
