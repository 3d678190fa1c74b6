package plugin

import (
	"io"
	"os"

	"golang.org/x/term"
)

// isTerminal says whether somebody looks at what is written.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
