package certificates

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets/secretstest"
)

func TestWhenCertificatesEndIsAMetricWhileAppsUseThem(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	w := newWorld(t, func(c *Config) {
		// Of another authority, which is nobody's concern here.
		s := secretstest.NewAuthority(t).SecretFrom("default", "d", until.Add(-2*time.Hour), until.Add(time.Hour), "*.test")
		require.NoError(t, os.WriteFile(cert, s.Data[corev1.TLSCertKey], 0o600))
		require.NoError(t, os.WriteFile(key, s.Data[corev1.TLSPrivateKeyKey], 0o600))
		c.DefaultCert, c.DefaultKey = cert, key
	})
	_, err := w.client.CoreV1().Secrets("default").Create(t.Context(), w.authority.SecretFrom("default", "s", until.Add(-time.Hour), until, "shop.test"), metav1.CreateOptions{})
	require.NoError(t, err)
	w.app("shop", "s", "shop.test")
	w.app("plain", "", "plain.test")
	w.app("missing", "missing", "missing.test")
	const name = "kedahttp_interceptor_certificate_expiry_timestamp_seconds"
	series := func(app, namespace string, at time.Time) string {
		return fmt.Sprintf("%s{app=%q,namespace=%q} %d\n", name, app, namespace, at.Unix())
	}
	want := "# HELP " + name + " When the certificate ends that the hosts of an app are served with. Without an app: the default certificate.\n# TYPE " + name + " gauge\n"
	w.eventually("the certificate that is used", func() bool {
		return testutil.CollectAndCompare(w, strings.NewReader(want+series("", "", until.Add(time.Hour))+series("shop", "default", until))) == nil
	})
	require.Equal(t, 2, testutil.CollectAndCount(w))
}
