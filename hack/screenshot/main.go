// Command screenshot draws what a terminal shows, as tmux capture-pane -e gives it on stdin, as an SVG.
package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

func main() {
	if err := draw(os.Stdout, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "screenshot:", err)
		os.Exit(1)
	}
}

// The size of a character, and the margin, in pixels.
const width, height, margin = 8, 18, 12

// looks are what the codes of a terminal (ECMA-48 SGR) do to text; 0 takes all of it away.
var looks = map[string]string{
	"1": `font-weight="bold"`, "2": `opacity="0.6"`,
	"31": `fill="#ff7b72"`, "32": `fill="#7ee787"`, "33": `fill="#e3b341"`, "34": `fill="#79c0ff"`, "35": `fill="#d2a8ff"`, "36": `fill="#76e3ea"`,
}

var code = regexp.MustCompile("\x1b\\[([0-9;]*)m")

func draw(out io.Writer, in io.Reader) error {
	var lines []string
	widest := 0
	for scanner := bufio.NewScanner(in); ; {
		if !scanner.Scan() {
			if err := scanner.Err(); err != nil {
				return err
			}
			break
		}
		line := strings.TrimRight(scanner.Text(), " ")
		widest = max(widest, utf8.RuneCountInString(code.ReplaceAllString(line, "")))
		lines = append(lines, line)
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	w, h := widest*width+2*margin, len(lines)*height+2*margin
	b := bufio.NewWriter(out)
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" fill="#e6edf3">`+"\n", w, h, w, h)
	fmt.Fprintln(b, `<rect width="100%" height="100%" rx="6" fill="#0d1117"/>`)
	var look []string
	for row, line := range lines {
		column := 0
		text := func(s string) {
			n := utf8.RuneCountInString(s)
			if strings.TrimSpace(s) != "" {
				// The length keeps columns below each other whatever the font is.
				fmt.Fprintf(b, `<text x="%d" y="%d" textLength="%d" xml:space="preserve"`, margin+column*width, margin+row*height+13, n*width)
				for _, l := range look {
					fmt.Fprintf(b, " %s", l)
				}
				fmt.Fprintf(b, ">%s</text>\n", html.EscapeString(s))
			}
			column += n
		}
		at := 0
		for _, m := range code.FindAllStringSubmatchIndex(line, -1) {
			text(line[at:m[0]])
			at = m[1]
			for _, c := range strings.Split(line[m[2]:m[3]], ";") {
				switch l, ok := looks[c]; {
				case c == "", c == "0", c == "22", c == "39": // the last two of weight and colour alone: nothing has both here
					look = nil
				case c == "49": // the usual background
				case ok:
					look = append(look, l)
				default:
					return fmt.Errorf("line %d: it is not known what the code %q looks like", row+1, c)
				}
			}
		}
		text(line[at:])
	}
	fmt.Fprintln(b, "</svg>")
	return b.Flush()
}
