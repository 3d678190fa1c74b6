// Package externalmetrics serves the requests of apps as external.metrics.k8s.io/v1beta1, where a HorizontalPodAutoscaler looks
// for what it scales by.
package externalmetrics

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/metrics/pkg/apis/external_metrics"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// The metrics. HPAs of users have these names in them: they never change.
const (
	// Pending is how many requests of an app wait now.
	Pending = "http_pending"
	// InFlight is how many requests of an app are being answered now.
	InFlight = "http_in_flight"
	// Concurrency is both together, averaged over the app's window; see queue.Load.
	Concurrency = "http_concurrency"
	// RequestRate is how many requests arrive per second, averaged over the app's window; see queue.Load.
	RequestRate = "http_request_rate"
	// InterceptorRequests is how many requests of all apps wait or are being answered now. It is a metric of the interceptors, in their
	// namespace.
	InterceptorRequests = "http_interceptor_requests"
)

// AppLabel is the label of a value that names its app.
const AppLabel = "httpapp"

var names = []string{Concurrency, InFlight, InterceptorRequests, Pending, RequestRate}

// smallest is what a window that a HPA is told is at least; a shorter one is not averaged over either.
const smallest = time.Second

// Counts are the live counts of apps: a queue.Collector.
type Counts interface {
	queue.Sampler
	Synced() bool
}

// Provider answers with the metrics of apps.
type Provider struct {
	counts Counts
	apps   cache.SharedIndexInformer
	// interceptors is their namespace.
	interceptors string
}

var _ provider.ExternalMetricsProvider = &Provider{}

// NewProvider makes a provider. apps is an informer of *v1alpha1.HTTPApp with an index of namespaces, interceptors the namespace of
// the interceptors.
func NewProvider(counts Counts, apps cache.SharedIndexInformer, interceptors string) *Provider {
	return &Provider{counts: counts, apps: apps, interceptors: interceptors}
}

// ListAllExternalMetrics implements provider.ExternalMetricsProvider.
func (p *Provider) ListAllExternalMetrics() []provider.ExternalMetricInfo {
	infos := make([]provider.ExternalMetricInfo, 0, len(names))
	for _, name := range names {
		infos = append(infos, provider.ExternalMetricInfo{Metric: name})
	}
	return infos
}

// GetExternalMetric implements provider.ExternalMetricsProvider: one value for each app of the namespace that the selector
// selects by the app's labels and by httpapp, its name. While nothing is known it returns an error, on which an autoscaler
// leaves the replicas as they are; a zero would take them away under load.
func (p *Provider) GetExternalMetric(_ context.Context, namespace string, selector labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	if !slices.Contains(names, info.Metric) {
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
			Message: fmt.Sprintf("there is no external metric %q: there are %s", info.Metric, strings.Join(names, ", ")),
		}}
	}
	if !p.apps.HasSynced() {
		return nil, apierrors.NewServiceUnavailable("the apps are not known yet")
	}
	apps, err := p.apps.GetIndexer().ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		return nil, err
	}
	list := &external_metrics.ExternalMetricValueList{Items: []external_metrics.ExternalMetricValue{}}
	if info.Metric == InterceptorRequests {
		if namespace == p.interceptors {
			value, err := p.all()
			if err != nil {
				return nil, err
			}
			list.Items = append(list.Items, *value)
		}
		return list, nil
	}
	for _, obj := range apps {
		app, ok := obj.(*v1alpha1.HTTPApp)
		if !ok || app.DeletionTimestamp != nil || !selector.Matches(labelsOf(app)) {
			continue
		}
		value, err := p.value(app, info.Metric)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, *value)
	}
	slices.SortFunc(list.Items, func(a, b external_metrics.ExternalMetricValue) int {
		return strings.Compare(a.MetricLabels[AppLabel], b.MetricLabels[AppLabel])
	})
	return list, nil
}

// labelsOf are what a selector sees of an app.
func labelsOf(app *v1alpha1.HTTPApp) labels.Set {
	return labels.Merge(app.Labels, labels.Set{AppLabel: app.Name})
}

func (p *Provider) value(app *v1alpha1.HTTPApp, metric string) (*external_metrics.ExternalMetricValue, error) {
	name := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
	window := max(demand.Window(app), smallest)
	sample := p.counts.Sample(name, window)
	if err := p.known(sample); err != nil {
		return nil, err
	}
	value := &external_metrics.ExternalMetricValue{
		MetricName:   metric,
		MetricLabels: map[string]string{AppLabel: app.Name},
		Timestamp:    metav1.NewTime(sample.SampledAt),
	}
	var number float64
	switch metric {
	case Pending:
		number = float64(sample.Pending)
	case InFlight:
		number = float64(sample.InFlight)
	case Concurrency:
		number = queue.Load(p.counts, name, queue.Concurrency, window)
		value.WindowSeconds = ptr.To(int64(window.Seconds()))
	case RequestRate:
		number = queue.Load(p.counts, name, queue.RequestRate, window)
		value.WindowSeconds = ptr.To(int64(window.Seconds()))
	}
	if sample.Reporting < sample.Expected && metric == scaledBy(app) {
		number = max(number, demand.Held(app))
	}
	value.Value = *resource.NewMilliQuantity(int64(math.Round(number*1000)), resource.DecimalSI)
	return value, nil
}

// scaledBy is the metric that an app's autoscaler asks for.
func scaledBy(app *v1alpha1.HTTPApp) string {
	if app.Spec.Scaling.Metric == v1alpha1.MetricRequestRate {
		return RequestRate
	}
	return Concurrency
}

// known returns an error while nothing is known.
func (p *Provider) known(sample queue.Sample) error {
	switch {
	case !p.counts.Synced():
		return apierrors.NewServiceUnavailable("the counts of the interceptors are not known yet")
	case sample.Reporting == 0:
		return apierrors.NewServiceUnavailable(fmt.Sprintf("none of the %d interceptors reports its counts", sample.Expected))
	}
	return nil
}

// all is what the interceptors are scaled by.
func (p *Provider) all() (*external_metrics.ExternalMetricValue, error) {
	sample := p.counts.Sample(queue.AllApps, smallest)
	if err := p.known(sample); err != nil {
		return nil, err
	}
	return &external_metrics.ExternalMetricValue{
		MetricName: InterceptorRequests, MetricLabels: map[string]string{}, Timestamp: metav1.NewTime(sample.SampledAt),
		Value: *resource.NewMilliQuantity(int64(math.Round(sample.Concurrency*1000)), resource.DecimalSI),
	}, nil
}
