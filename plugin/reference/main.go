// Command reference writes what the plugin's commands say of themselves: as one page of Markdown, or as man pages.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kedahttp/kedahttp/plugin"
)

func main() {
	if len(os.Args) != 3 || os.Args[1] != "markdown" && os.Args[1] != "man" {
		fmt.Fprintln(os.Stderr, "usage: reference markdown FILE | man FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func write(format, to string) error {
	if format == "man" {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		return doc.GenManTree(command(), &doc.GenManHeader{Title: "KUBECTL-HTTP", Section: "1", Source: "kedahttp", Manual: "kubectl http"}, to)
	}
	var page bytes.Buffer
	if err := markdown(&page); err != nil {
		return err
	}
	return os.WriteFile(to, page.Bytes(), 0o644)
}

// command is the plugin, without kubectl's flags, which are the same everywhere.
func command() *cobra.Command {
	root := plugin.NewCommand("kubectl http", genericiooptions.NewTestIOStreamsDiscard())
	root.DisableAutoGenTag = true
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	root.InitDefaultHelpCmd()
	return root
}

const introduction = `# kubectl http

What the commands say of themselves, made by ` + "`make generate`" + `. Besides the options here each has the flags of kubectl's connection, such as
` + "`--namespace`, `--context` and `--kubeconfig`" + `: see ` + "`kubectl http options`" + `.

`

func markdown(out io.Writer) error {
	if _, err := io.WriteString(out, introduction); err != nil {
		return err
	}
	return each(command(), func(cmd *cobra.Command) error {
		var text bytes.Buffer
		if err := doc.GenMarkdownCustom(cmd, &text, func(name string) string {
			return "#" + strings.ReplaceAll(strings.TrimSuffix(name, ".md"), "_", "-")
		}); err != nil {
			return err
		}
		// What would be repeated for every command.
		page, _, _ := strings.Cut(text.String(), "### SEE ALSO")
		_, err := io.WriteString(out, strings.TrimRight(page, "\n")+"\n\n")
		return err
	})
}

func each(cmd *cobra.Command, do func(*cobra.Command) error) error {
	if err := do(cmd); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() || sub.Name() == "help" {
			continue
		}
		if err := each(sub, do); err != nil {
			return err
		}
	}
	return nil
}
