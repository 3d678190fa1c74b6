package certificates

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

var expiryDesc = prometheus.NewDesc("kedahttp_interceptor_certificate_expiry_timestamp_seconds",
	"When the certificate ends that the hosts of an app are served with. Without an app: the default certificate.", []string{"namespace", "app"}, nil)

// Expiries are when the certificates of apps end, that of no app for the default.
type Expiries map[types.NamespacedName]time.Time

var (
	_ prometheus.Collector = Expiries{}
	_ prometheus.Collector = &Certificates{}
)

// Describe implements prometheus.Collector.
func (Expiries) Describe(ch chan<- *prometheus.Desc) { ch <- expiryDesc }

// Collect implements prometheus.Collector.
func (e Expiries) Collect(ch chan<- prometheus.Metric) {
	for app, at := range e {
		ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(at.Unix()), app.Namespace, app.Name)
	}
}

// Describe implements prometheus.Collector.
func (c *Certificates) Describe(ch chan<- *prometheus.Desc) { Expiries{}.Describe(ch) }

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(ch chan<- prometheus.Metric) { c.expiries().Collect(ch) }

func (c *Certificates) expiries() Expiries {
	all := Expiries{}
	for _, obj := range c.config.Apps.GetStore().List() {
		app, ok := obj.(*v1alpha1.HTTPApp)
		if !ok || app.Spec.TLS == nil {
			continue
		}
		name := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
		if certificate := c.watcher.Of(name).Certificate; certificate != nil {
			all[name] = certificate.Leaf.NotAfter
		}
	}
	if c.files != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if material, err := c.files.KeyMaterial(ctx); err == nil && len(material.Certs) > 0 && material.Certs[0].Leaf != nil {
			all[types.NamespacedName{}] = material.Certs[0].Leaf.NotAfter
		}
	}
	return all
}
