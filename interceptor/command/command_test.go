package command

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	logsapi "k8s.io/component-base/logs/api/v1"
)

func TestAFlagThatCannotBeIsNamed(t *testing.T) {
	for _, flag := range []string{
		"--trusted-proxies=10.0.0.1", "--max-connections=-1", "--max-held-requests=0", "--max-held-bytes=0", "--max-held-bytes=much",
		"--shutdown-delay=-1s", "--drain-timeout=-1s", "--metrics-from=everywhere", "--forwarded=on", "--request-ids=some",
		"--access-log=some", "--access-log-sample=0", "--access-log-slow=-1s", "--tracing-sampling-rate-per-million=1000001",
		"--tls-min-version=VersionTLS9", "--tls-cipher-suites=TLS_NONE", "--tls-default-cert=tls.crt", "--tls-default-key=tls.key", "--public-tls-port=0",
	} {
		cmd := New()
		cmd.SetArgs([]string{flag})
		cmd.SetOut(io.Discard)
		require.NoError(t, logsapi.ResetForTest(nil)) // how a process logs is decided once
		name, _, _ := strings.Cut(flag, "=")
		require.ErrorContains(t, cmd.Execute(), name, flag)
	}
}

func TestTheFlagsOfTLSAreVersionsAndCipherSuites(t *testing.T) {
	o := TLSOptions{PublicPort: 443, MinVersion: "VersionTLS13", CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}}
	require.NoError(t, o.complete())
	require.EqualValues(t, tls.VersionTLS13, o.minVersion)
	require.Equal(t, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, o.cipherSuites)
}
