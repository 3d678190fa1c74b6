package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const patience = 30 * time.Second

// full has everything.
var full = Entry{
	Time:      time.Date(2026, 7, 1, 2, 3, 4, 5678000, time.FixedZone("", 3600)),
	Namespace: "default", App: "shop", Client: "10.0.0.1", Method: "GET", Scheme: "https", Host: "shop.test", Path: "/a", Protocol: "HTTP/1.1",
	Status: 502, Reason: "backend", BytesIn: 5, BytesOut: 66, Duration: 1500 * time.Millisecond, Held: 1400001 * time.Microsecond,
	Pod: "10.0.0.2:80", Retries: 2, RequestID: "id", TraceID: "trace", ColdStart: "waited",
}

func TestALineTellsWhatThereIsToTell(t *testing.T) {
	require.Equal(t, `{"time":"2026-07-01T01:03:04.005678Z","app":"default/shop","client":"10.0.0.1","method":"GET","scheme":"https","host":"shop.test","path":"/a",`+
		`"protocol":"HTTP/1.1","status":502,"reason":"backend","bytesIn":5,"bytesOut":66,"duration":1.500000,"held":1.400001,"pod":"10.0.0.2:80","retries":2,`+
		`"requestId":"id","traceId":"trace","coldStart":"waited"}`+"\n", string(full.appendTo(nil)))
	e := Entry{Time: full.Time, Status: 404}
	require.Equal(t, `{"time":"2026-07-01T01:03:04.005678Z","status":404,"bytesIn":0,"bytesOut":0,"duration":0.000000}`+"\n", string(e.appendTo(nil)))
}

func FuzzALineIsOneObjectWhateverClientsSay(f *testing.F) {
	for _, s := range []string{"", "/a", "\"", "\\", "\n\r\t\x00\x7f", "ä€😀", "\xff\xc3", strings.Repeat("ä", 3000), "a\u2028b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := Entry{Path: s, Status: 200}
		out := e.appendTo(nil)
		require.Equal(t, 1, bytes.Count(out, []byte{'\n'}))
		var got struct{ Path string }
		require.NoError(t, json.Unmarshal(out, &got), "%q", out)
		if len(s) <= mostValue && utf8.ValidString(s) {
			require.Equal(t, s, got.Path)
		}
		require.LessOrEqual(t, len(out), 8*mostValue)
	})
}

func TestWhichRequestsHaveALine(t *testing.T) {
	var off *Log
	require.False(t, off.Wants(502, "backend", time.Hour))
	all := New(Config{OneIn: 1})
	require.True(t, all.Wants(200, "", 0))
	sampled := New(Config{OneIn: 10, Slow: time.Second})
	for range 1000 {
		require.True(t, sampled.Wants(502, "backend", 0))
		require.True(t, sampled.Wants(404, "no_route", 0))
		require.True(t, sampled.Wants(200, "", time.Second))
	}
	n := 0
	for range 10_000 {
		if sampled.Wants(200, "", time.Millisecond) {
			n++
		}
	}
	require.InDelta(t, 1000, n, 200)
}

// writer is slow when it is made so.
type writer struct {
	mu      sync.Mutex
	got     bytes.Buffer
	began   chan struct{}
	blocked chan struct{}
}

func (w *writer) Write(p []byte) (int, error) {
	if w.blocked != nil {
		select {
		case w.began <- struct{}{}:
		default:
		}
		<-w.blocked
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.Write(p)
}

func (w *writer) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.SplitAfter(strings.TrimSuffix(w.got.String(), "\n"), "\n")
}

func run(t *testing.T, l *Log) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(ctx)
	}()
	return func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			require.Fail(t, "it does not end")
		}
	}
}

func TestLinesOfManyAreWhole(t *testing.T) {
	w := &writer{}
	l := New(Config{To: w})
	end := run(t, l)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				l.Write(&full)
			}
		})
	}
	wg.Wait()
	end()
	lines := w.lines()
	require.Len(t, lines, 800)
	for _, line := range lines {
		require.Equal(t, string(full.appendTo(nil)), strings.TrimSuffix(line, "\n")+"\n")
	}
	require.Zero(t, l.Dropped())
}

func TestLinesAreWrittenSoon(t *testing.T) {
	w := &writer{}
	l := New(Config{To: w})
	defer run(t, l)()
	for n := 1; n <= 3; n++ {
		l.Write(&full)
		require.Eventually(t, func() bool { lines := w.lines(); return len(lines) == n && lines[0] != "" }, patience, time.Millisecond)
	}
}

func TestNobodyWaitsForASlowReaderAndWhatIsLostIsCounted(t *testing.T) {
	w := &writer{began: make(chan struct{}, 1), blocked: make(chan struct{})}
	l := New(Config{To: w})
	end := run(t, l)
	l.Write(&full)
	select {
	case <-w.began:
	case <-time.After(patience):
		require.Fail(t, "nothing is written")
	}
	// Nothing of this waits, although nothing is written.
	fits := most / len(full.appendTo(nil))
	for range fits + 10 {
		l.Write(&full)
	}
	require.Equal(t, int64(10), l.Dropped())
	close(w.blocked)
	end()
	require.Len(t, w.lines(), fits+1)
}

func TestALineAllocatesNothing(t *testing.T) {
	l := New(Config{To: io.Discard})
	l.Write(&full)
	require.NoError(t, l.flush())
	require.Zero(t, testing.AllocsPerRun(1000, func() { l.Write(&full) }))
}

func BenchmarkALine(b *testing.B) {
	l := New(Config{To: io.Discard})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go l.Run(ctx)
	b.ReportAllocs()
	for b.Loop() {
		l.Write(&full)
	}
}
