package certificates

import (
	"maps"
	"slices"
	"testing"
	"time"
)

func TestWhenCertificatesEndIsKnownAndMovesWithTheirRenewal(t *testing.T) {
	w := newWorld(t)
	m := w.replica()
	first := m.Expiries()
	if got := slices.Sorted(maps.Keys(first)); !slices.Equal(got, []string{AuthoritySecret, other.Secret, own.Secret}) {
		t.Fatalf("known are %v", got)
	}
	if got := first[own.Secret]; !got.Equal(start.Add(w.lives.Leaf)) {
		t.Errorf("the leaf ends at %s", got)
	}
	w.clock.Step(w.lives.Leaf * 3 / 4)
	w.ensure(m)
	if got := m.Expiries()[own.Secret]; !got.After(first[own.Secret].Add(30 * 24 * time.Hour)) {
		t.Errorf("after its renewal the leaf ends at %s", got)
	}
}
