package server

import (
	"crypto/x509"
	"testing"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
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
