//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"testing"
	"time"
)

// likeTheAggregator is a certificate that differs from the aggregator's in who signed it: an authority that is named as the host's.
func (u user) likeTheAggregator() tls.Certificate {
	u.Helper()
	config := func(key string) string {
		return operator(u.T).kubectl("get", "configmap", "--namespace=kube-system", "extension-apiserver-authentication", "-o", `jsonpath={.data.`+key+`}`)
	}
	block, _ := pem.Decode([]byte(config(`requestheader-client-ca-file`)))
	if block == nil {
		u.Fatal("the host names no authority of its aggregator")
	}
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		u.Fatal(err)
	}
	var names []string
	if err := json.Unmarshal([]byte(config(`requestheader-allowed-names`)), &names); err != nil {
		u.Fatal(err)
	}
	names = append(names, "aggregator") // any is, if none is named
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			u.Fatal(err)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, &x509.Certificate{RawSubject: authority.RawSubject, SubjectKeyId: authority.SubjectKeyId}, keys[0].Public(), keys[1])
	if err != nil {
		u.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: keys[0]}
}

func TestOnlyTheAggregatorSaysWhoAsks(t *testing.T) {
	u := newUser(t)
	u.kubectl("get", "httpapps") // the aggregator is known
	for name, c := range map[string]struct {
		certificate tls.Certificate
		want        int
	}{
		"without a certificate":  {want: http.StatusForbidden},
		"with one that is alike": {u.likeTheAggregator(), http.StatusUnauthorized},
	} {
		for _, server := range u.servers() {
			client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
				DialContext: inside,
				TLSClientConfig: &tls.Config{
					InsecureSkipVerify: true, // it is the server that is to be careful
					// Whatever authorities the server says it knows.
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.certificate, nil },
				},
			}}
			defer client.CloseIdleConnections()
			for range 2 { // who was refused stays so
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+server.Status.PodIP+":8443/apis/apps.http.keda.sh/v1alpha1/httpapps", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Remote-User", "administrator")
				r.Header.Set("X-Remote-Group", "system:masters")
				answer, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = answer.Body.Close()
				if answer.StatusCode != c.want {
					t.Errorf("%s answers who asks as the administrator %s: %s", server.Name, name, answer.Status)
				}
			}
		}
	}
}
