package plugin

import (
	"bytes"
	"testing"
	"time"
)

func TestProgressIsToldOnChangeOnly(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{out: &out, started: now, now: func() time.Time { return now }}
	p.say("waiting for %s", "a pod")
	now = now.Add(1500 * time.Millisecond)
	p.say("waiting for %s", "a pod")
	p.say("ready")
	if want := "  0.0s  waiting for a pod\n  1.5s  ready\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
