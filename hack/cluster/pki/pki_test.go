package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
)

func TestLeavesAreSignedByTheirAuthorityForTheirUse(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	leaves := []Leaf{
		{Name: "server", CA: "ca", Common: "server", Names: []string{"kubernetes"}, IPs: []string{"10.96.0.1"}},
		{Name: "client", CA: "ca", Common: "admin", Groups: []string{"system:masters"}},
		{Name: "proxy", CA: "other", Common: "proxy"},
	}
	make := func() {
		t.Helper()
		if err := s.Make([]string{"ca", "other"}, leaves, []string{"sa"}); err != nil {
			t.Fatal(err)
		}
	}
	make()

	roots := x509.NewCertPool()
	pem, err := os.ReadFile(s.Cert("ca"))
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no authority", err)
	}
	leaf := func(name string) *x509.Certificate {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(s.Cert(name), s.Key(name))
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	server := x509.VerifyOptions{Roots: roots, DNSName: "kubernetes", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := leaf("server").Verify(server); err != nil {
		t.Error(err)
	}
	client := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := leaf("client").Verify(client); err != nil {
		t.Error(err)
	}
	if got := leaf("client").Subject.Organization; len(got) != 1 || got[0] != "system:masters" {
		t.Errorf("groups %v", got)
	}
	if _, err := leaf("proxy").Verify(client); err == nil {
		t.Error("a leaf of another authority is accepted")
	}

	before := leaf("server").SerialNumber
	make()
	if leaf("server").SerialNumber.Cmp(before) != 0 {
		t.Error("made again what was there")
	}
	if _, err := os.Stat(s.PublicKey("sa")); err != nil {
		t.Error(err)
	}
}
