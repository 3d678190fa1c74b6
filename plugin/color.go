package plugin

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
)

// coloring is what a command that has colours is told of them.
type coloring struct{ color string }

func (c *coloring) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.color, "color", "auto", "auto (on a terminal, unless NO_COLOR is set or TERM is dumb), always or never.")
	completeWords(cmd, "color", "auto", "always", "never")
}

func (c *coloring) validate() error {
	if !slices.Contains([]string{"auto", "always", "never"}, c.color) {
		return fmt.Errorf("--color is %q; it can be auto, always or never", c.color)
	}
	return nil
}

// palette is that for an output.
func (c *coloring) palette(s *session, out io.Writer) palette {
	auto := s.terminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return palette{c.color == "always" || c.color == "auto" && auto}
}

// palette colours texts, or leaves them as they are.
type palette struct{ colored bool }

func (p palette) code(code, text string) string {
	if !p.colored || code == "" {
		return text
	}
	return "\033[" + code + "m" + text + "\033[0m"
}

func (p palette) bold(text string) string { return p.code("1", text) }
func (p palette) dim(text string) string  { return p.code("2", text) }

// The colours of words.
const (
	green   = "32"
	yellow  = "33"
	red     = "31"
	magenta = "35"
	faint   = "2"
)

// state is a text about an app in the colour of its state.
func (p palette) state(s state, text string) string {
	return p.code(map[state]string{serving: green, waking: yellow, starting: yellow, failing: red, paused: magenta, idle: faint}[s], text)
}

// verdict is a check's.
func (p palette) verdict(verdict string) string {
	return p.code(map[string]string{pass: green, warn: yellow, fail: red}[verdict], verdict)
}
