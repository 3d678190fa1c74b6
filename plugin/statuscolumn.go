package plugin

import (
	"bytes"
	"io"
	"strings"
	"unicode"
)

// statusColumn passes a table on, and colours what is in its column STATUS.
type statusColumn struct {
	palette
	out  io.Writer
	line bytes.Buffer
	// at is where the column begins; 0: there is none.
	at int
}

// Write implements io.Writer.
func (s *statusColumn) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		s.line.Write(line)
		if !whole {
			break
		}
		rest = after
		_, err := io.WriteString(s.out, s.paint(s.line.String())+"\n")
		s.line.Reset()
		if err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (s *statusColumn) paint(line string) string {
	runes := []rune(line)
	if strings.HasPrefix(line, "NAME") {
		before, _, ok := strings.Cut(line, " STATUS ")
		if s.at = 0; ok {
			s.at = len([]rune(before)) + 1
		}
		return line
	}
	if s.at == 0 || len(runes) <= s.at || runes[s.at-1] != ' ' || runes[s.at] == ' ' {
		return line
	}
	end := s.at
	for end < len(runes) && !unicode.IsSpace(runes[end]) {
		end++
	}
	return string(runes[:s.at]) + s.word(string(runes[s.at:end])) + string(runes[end:])
}

// word colours what the server says of an app in one word. What it has no name for is the reason of a failure.
func (s *statusColumn) word(text string) string {
	color, known := map[string]string{
		"Ready": green, "Idle": faint, "Terminating": faint, "Waking": yellow, "Progressing": yellow, "Saturated": yellow, "Paused": magenta,
	}[text]
	if !known {
		color = red
	}
	return s.code(color, text)
}
