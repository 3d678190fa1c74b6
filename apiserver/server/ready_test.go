package server

import (
	"crypto/x509"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	clocktesting "k8s.io/utils/clock/testing"
)

// authority is one that may not be known yet.
type authority struct {
	dynamiccertificates.CAContentProvider
	known bool
}

func (a *authority) VerifyOptions() (x509.VerifyOptions, bool) { return x509.VerifyOptions{}, a.known }

func TestAServerThatCannotTellTheAggregatorFromStrangersIsNotReady(t *testing.T) {
	a := &authority{}
	check := proxiesCheck(a)
	if err := check.Check(nil); err == nil {
		t.Error("it is ready, and would take everybody for nobody")
	}
	a.known = true
	if err := check.Check(nil); err != nil {
		t.Error(err)
	}
}

type synced bool

func (s *synced) Synced() bool { return bool(*s) }

func TestAServerWaitsForTheCountsButNotForEver(t *testing.T) {
	var counts synced
	clock := clocktesting.NewFakePassiveClock(time.Unix(1000, 0))
	check := countsCheck(&counts, clock)
	if err := check.Check(nil); err == nil {
		t.Error("it is ready before it has a number")
	}
	counts = true
	if err := check.Check(nil); err != nil {
		t.Error(err)
	}
	counts = false
	clock.SetTime(clock.Now().Add(countsPatience))
	if err := check.Check(nil); err != nil {
		t.Errorf("an interceptor that cannot be reached keeps it from serving: %v", err)
	}
}
