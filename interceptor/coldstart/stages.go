package coldstart

import (
	"strconv"
	"strings"
	"time"

	"github.com/kedahttp/kedahttp/interceptor/queue"
)

// Header is the name of the header that says how long the stages of a cold start took, or who answered while it went on.
const Header = "X-KedaHTTP-Cold-Start"

// Who answers in the place of an app that is starting.
const (
	Placeholder = "placeholder"
	Fallback    = "fallback"
)

// The stages of a cold start. They are labels of a metric: there are no others.
const (
	// Decided is when the workload was to have pods, whoever said so, as an API server of ours saw it, by its clock. It tells a second
	// later; an answer does not wait for that. It is missing when the app had not been at zero and when no API server is there.
	Decided = "decided"
	// Created and Scheduled are when the pod was made and when it got a node, by the cluster's clock and in whole seconds: it
	// was then or up to a second later. Nobody tells it more exactly whom an interceptor may ask.
	Created   = "created"
	Scheduled = "scheduled"
	// Address is when the pod's address was known here.
	Address = "address"
	// Probe is when the pod answered our own probe. Ready is there instead when its EndpointSlice said first that it was ready.
	Probe = "probe"
	Ready = "ready"
	// FirstByte is when the response began.
	FirstByte = "first-byte"
)

// Stage is a stage of a cold start.
type Stage = queue.Stage

// Stages are those that are known of a cold start, in their order.
type Stages []Stage

// String is the header's value.
func (s Stages) String() string {
	if len(s) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("total=" + seconds(s[len(s)-1].After))
	for _, stage := range s {
		b.WriteString(", " + stage.Name + "=" + seconds(stage.After))
	}
	return b.String()
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }
