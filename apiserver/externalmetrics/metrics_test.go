package externalmetrics

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

var sampled = time.Unix(5000, 0)

// counts are what a collector would say: averages by the window that is asked for, and lately over those that are not named.
type counts struct {
	sample   queue.Sample
	averages map[time.Duration]float64
	lately   float64
	unknown  bool
}

func (c *counts) Synced() bool { return !c.unknown }
func (c *counts) Sample(app types.NamespacedName, window time.Duration) queue.Sample {
	s := c.sample
	average, named := c.averages[window]
	if !named {
		average = c.lately
	}
	s.Concurrency, s.RequestRate, s.Observed = average, 10*average, window
	if app.Name == "idle" {
		s.Pending, s.InFlight, s.Concurrency, s.RequestRate = 0, 0, 0, 0
	}
	return s
}

// served are the counts of an app with three requests that wait and two that are answered, told by all interceptors.
func served() *counts {
	return &counts{
		sample:   queue.Sample{Pending: 3, InFlight: 2, SampledAt: sampled, Reporting: 2, Expected: 2},
		averages: map[time.Duration]float64{30 * time.Second: 4.25, time.Minute: 7},
		lately:   4,
	}
}

// providerOf makes a provider of two apps of one namespace and one of another.
func providerOf(t *testing.T, c *counts) *Provider {
	source := cachetesting.NewFakeControllerSource()
	for _, app := range []*v1alpha1.HTTPApp{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "busy", Labels: map[string]string{"tier": "front", "httpapp": "idle"}},
			Spec:   v1alpha1.HTTPAppSpec{Scaling: v1alpha1.Scaling{Window: &metav1.Duration{Duration: 30 * time.Second}}},
			Status: v1alpha1.HTTPAppStatus{Replicas: 2}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "idle", Labels: map[string]string{"tier": "back"}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "busy"}},
	} {
		source.Add(app)
	}
	apps := cache.NewSharedIndexInformer(source, &v1alpha1.HTTPApp{}, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	go apps.RunWithContext(t.Context())
	if !cache.WaitForCacheSync(t.Context().Done(), apps.HasSynced) {
		t.Fatal("the informer does not sync")
	}
	return NewProvider(c, apps, "system")
}

func TestEachMetricIsThatOfTheApp(t *testing.T) {
	p := providerOf(t, served())
	for metric, want := range map[string]struct {
		value  string
		window int64
	}{
		Pending: {"3", 0}, InFlight: {"2", 0}, Concurrency: {"4250m", 30}, RequestRate: {"42500m", 30},
	} {
		list, err := p.GetExternalMetric(t.Context(), "shop", labels.Set{AppLabel: "busy"}.AsSelector(), provider.ExternalMetricInfo{Metric: metric})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 {
			t.Fatalf("%s has %d values", metric, len(list.Items))
		}
		v := list.Items[0]
		if v.Value.String() != want.value || v.MetricName != metric || v.MetricLabels[AppLabel] != "busy" || !v.Timestamp.Time.Equal(sampled) {
			t.Errorf("%s is %+v, not %s", metric, v, want.value)
		}
		if (v.WindowSeconds == nil) != (want.window == 0) || v.WindowSeconds != nil && *v.WindowSeconds != want.window {
			t.Errorf("the window of %s is %v, not %d", metric, v.WindowSeconds, want.window)
		}
	}
}

// Of what is missing it is not known that it is nothing: the replicas stay at least as many as they are.
func TestNoReplicaIsTakenAwayForWhatIsNotKnown(t *testing.T) {
	c := served()
	c.sample.Reporting = 1
	p := providerOf(t, c)
	for metric, want := range map[string]string{Concurrency: "200", RequestRate: "42500m", Pending: "3"} {
		list, err := p.GetExternalMetric(t.Context(), "shop", labels.Set{AppLabel: "busy"}.AsSelector(), provider.ExternalMetricInfo{Metric: metric})
		if err != nil {
			t.Fatal(err)
		}
		if got := list.Items[0].Value.String(); got != want {
			t.Errorf("%s is %s, not %s", metric, got, want)
		}
	}
}

func TestASelectorSeesTheNameAndTheLabelsOfTheAppsOfOneNamespace(t *testing.T) {
	p := providerOf(t, served())
	for what, c := range map[string]struct {
		namespace, selector string
		apps                []string
	}{
		"all":                        {"shop", "", []string{"busy", "idle"}},
		"a name":                     {"shop", "httpapp=idle", []string{"idle"}},
		"names":                      {"shop", "httpapp in (busy,idle)", []string{"busy", "idle"}},
		"a label":                    {"shop", "tier=front", []string{"busy"}},
		"a label and not a name":     {"shop", "tier,httpapp!=busy", []string{"idle"}},
		"nobody":                     {"shop", "httpapp=nobody", nil},
		"another namespace":          {"other", "httpapp=busy", []string{"busy"}},
		"a namespace without an app": {"empty", "", nil},
	} {
		t.Run(what, func(t *testing.T) {
			selector, err := labels.Parse(c.selector)
			if err != nil {
				t.Fatal(err)
			}
			list, err := p.GetExternalMetric(t.Context(), c.namespace, selector, provider.ExternalMetricInfo{Metric: Pending})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, item := range list.Items {
				got = append(got, item.MetricLabels[AppLabel])
			}
			if !slices.Equal(got, c.apps) {
				t.Errorf("%v is selected, not %v", got, c.apps)
			}
		})
	}
}

func TestWhatIsNotKnownIsAnErrorAndNotZero(t *testing.T) {
	for what, change := range map[string]func(*counts){
		"the counts are not known yet": func(c *counts) { c.unknown = true },
		"no interceptor reports":       func(c *counts) { c.sample.Reporting = 0 },
		"there is no interceptor":      func(c *counts) { c.sample.Reporting, c.sample.Expected = 0, 0 },
	} {
		t.Run(what, func(t *testing.T) {
			c := served()
			change(c)
			list, err := providerOf(t, c).GetExternalMetric(t.Context(), "shop", labels.Everything(), provider.ExternalMetricInfo{Metric: Concurrency})
			if !apierrors.IsServiceUnavailable(err) {
				t.Errorf("the answer is %v, %v", list, err)
			}
		})
	}
}

// As for KEDA: what the others say, and the last that the missing one said.
func TestWhatSomeInterceptorsReportIsAnswered(t *testing.T) {
	c := served()
	c.sample.Reporting = 1
	if _, err := providerOf(t, c).GetExternalMetric(t.Context(), "shop", labels.Everything(), provider.ExternalMetricInfo{Metric: Concurrency}); err != nil {
		t.Error(err)
	}
}

func TestAMetricThatDoesNotExistIsNotFoundAndTheOthersAreNamed(t *testing.T) {
	p := providerOf(t, served())
	_, err := p.GetExternalMetric(t.Context(), "shop", labels.Everything(), provider.ExternalMetricInfo{Metric: "http_latency"})
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Code != http.StatusNotFound || !apierrors.IsNotFound(err) {
		t.Fatalf("the error is %v", err)
	}
	for _, info := range p.ListAllExternalMetrics() {
		if !strings.Contains(err.Error(), info.Metric) {
			t.Errorf("the error does not name %s: %v", info.Metric, err)
		}
	}
}

func TestTheRequestsOfAllAppsAreAMetricOfTheInterceptorsNamespace(t *testing.T) {
	c := served()
	p := providerOf(t, c)
	for namespace, want := range map[string]int{"system": 1, "shop": 0} {
		list, err := p.GetExternalMetric(t.Context(), namespace, labels.Everything(), provider.ExternalMetricInfo{Metric: InterceptorRequests})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != want || want == 1 && list.Items[0].Value.String() != "4" {
			t.Errorf("in %s there are %v", namespace, list.Items)
		}
	}
	c.sample.Reporting = 0
	if _, err := p.GetExternalMetric(t.Context(), "system", labels.Everything(), provider.ExternalMetricInfo{Metric: InterceptorRequests}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("what is not known is answered: %v", err)
	}
}
