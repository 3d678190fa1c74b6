package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

func TestTextIsDrawnWhereItStandsAndAsItLooks(t *testing.T) {
	var out strings.Builder
	if err := draw(&out, strings.NewReader("a \x1b[1mbold\x1b[0m <b>\n\x1b[32m██\x1b[39m  x\n\n\n")); err != nil {
		t.Fatal(err)
	}
	for decoder := xml.NewDecoder(strings.NewReader(out.String())); ; {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
	}
	for _, part := range []string{
		`<text x="28" y="25" textLength="32" xml:space="preserve" font-weight="bold">bold</text>`, "&lt;b&gt;", `fill="#7ee787">██</text>`, `height="60"`,
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %s in\n%s", part, out.String())
		}
	}
}

func TestALookThatIsNotKnownIsAnError(t *testing.T) {
	if err := draw(io.Discard, strings.NewReader("\x1b[48m")); err == nil || !strings.Contains(err.Error(), `"48"`) {
		t.Errorf("the error is %v", err)
	}
}
