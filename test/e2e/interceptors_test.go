//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const interceptorDeployment = "kedahttp-interceptor"

// as many interceptors as there are to be, all of which report.
func (u user) reporting(app string, interceptors int) error {
	return u.field("httpapp/"+app, "{.status.traffic.interceptors.reporting} {.status.traffic.interceptors.expected}", fmt.Sprintf("%[1]d %[1]d", interceptors))
}

// Six clients ask all the time, one request after the other that takes a second: there are never more requests than that, and of each client
// there is one nearly always, whichever interceptor it is at.
func TestInterceptorsComeAndGoUnderLoadWithoutLosingARequestOrACount(t *testing.T) {
	u := onlyUser(t)
	u.pods("web", "http1", 1)
	all := u.plain("web")
	l := u.traffic(all)
	u.pods("counted", "http1", 1)
	const clients = 6
	// Each with a pace of its own: those that began together would be between two requests together.
	var stops []func()
	for i := range clients {
		stops = append(stops, u.load("counted", 1, fmt.Sprintf("/?delay=%dms", 2000+170*i)))
	}
	u.eventually(soon, "all of them in flight", func() error { return u.field("httpapp/counted", "{.status.traffic.inFlight}", strconv.Itoa(clients)) })

	o := operator(t)
	t.Cleanup(func() { o.kubectl("scale", "deployment/"+interceptorDeployment, "--replicas=2") })
	for _, replicas := range []int{4, 2, 3, 2} {
		o.kubectl("scale", "deployment/"+interceptorDeployment, fmt.Sprint("--replicas=", replicas))
		u.eventually(later, fmt.Sprint(replicas, " interceptors that report"), func() error {
			out, err := u.value("httpapp/counted", "{.status.traffic.inFlight} {.status.traffic.pending}")
			if err != nil {
				return err
			}
			now, waiting, _ := strings.Cut(out, " ")
			inFlight, _ := strconv.Atoi(now)
			pending, _ := strconv.Atoi(waiting)
			// A client that was answered has a moment until its next request.
			if n := inFlight + pending; n > clients || n < clients/2 {
				u.Errorf("with %d interceptors to be, %d clients have %d requests", replicas, clients, n)
			}
			return u.reporting("counted", replicas)
		})
	}
	for _, stop := range stops {
		stop()
	}
	u.eventually(soon, "no request left", func() error {
		return u.field("httpapp/counted", "{.status.traffic.pending} {.status.traffic.inFlight}", "0 0")
	})
	l.check(u, all)
}

func TestKEDAScalesTheInterceptorsByTheRequestsOfAllApps(t *testing.T) {
	u := onlyUser(t)
	o := operator(t)
	u.manyInterceptors("keda/scaledobject.yaml", `interceptorTarget: "1000"`, `interceptorTarget: "4"`, func() {
		o.kubectl("wait", "--for=condition=Ready", "scaledobject/"+interceptorDeployment, "--timeout=2m")
	})
}

// manyInterceptors applies the manifest of a component, but for fewer requests, and sends more.
func (u user) manyInterceptors(component, target, few string, ready func()) {
	u.Helper()
	u.pods("a", "http1", 1)
	u.pods("b", "http1", 1)
	manifest, err := os.ReadFile("../../artifacts/components/interceptor-autoscaling/" + component)
	if err != nil {
		u.Fatal(err)
	}
	lower := strings.Replace(string(manifest), target, few, 1)
	if lower == string(manifest) {
		u.Fatalf("the manifest does not have %s", target)
	}
	o := operator(u.T)
	u.Cleanup(func() {
		if _, err := o.try(lower, "delete", "-f", "-", "--ignore-not-found"); err != nil {
			u.Error(err)
		}
		o.kubectl("scale", "deployment/"+interceptorDeployment, "--replicas=2")
		o.kubectl("rollout", "status", "deployment/"+interceptorDeployment, "--timeout=2m")
	})
	o.apply(lower)
	ready()
	var stops []func()
	for _, app := range []string{"a", "b"} {
		stops = append(stops, u.load(app, 6, "/?delay=500ms"))
	}
	began := time.Now()
	u.eventually(later, "a third interceptor that reports", func() error { return u.reporting("a", 3) })
	u.Logf("12 requests at a time have three interceptors after %v", time.Since(began).Round(time.Second))
	for _, stop := range stops {
		stop()
	}
}
