//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An autoscaler looks each 15 s and adds four pods at a time at most; requests that come meanwhile would wait.
func TestAnAppThatServesIsScaledUpAtOnceForARush(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("rushed", container, "  scaling: {minReplicas: 1, maxReplicas: 6, target: 2}"))
	u.routed("rushed")
	u.waitReplicas("rushed", 1, soon)
	if _, err := u.get("rushed", "/"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stop := u.load("rushed", 12, "/?delay=500ms")
	u.waitReplicas("rushed", 6, later)
	t.Logf("six replicas after %v", time.Since(began).Round(100*time.Millisecond))
	u.eventually(soon, "an event that says why", func() error {
		out, err := u.try("", "get", "events", "--field-selector", "reason=Rush,involvedObject.name=rushed", "-o", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(out, "replicas at once") {
			err = fmt.Errorf("the events say %q", out)
		}
		return err
	})
	// The autoscaler agrees, when it looks.
	u.eventually(later, "the HPA knowing of the rush", func() error {
		out, err := u.value("hpa/keda-hpa-rushed", "{.status.desiredReplicas} {.spec.behavior.scaleDown.stabilizationWindowSeconds}")
		if err != nil {
			return err
		}
		desired, steady, _ := strings.Cut(out, " ")
		if n, _ := strconv.Atoi(desired); n < 5 || steady != "60" {
			return fmt.Errorf("it wants %s replicas, and takes them away after %s s", desired, steady)
		}
		return nil
	})
	stop()
}

func TestWhatIsSetByHandInTheScaledObjectStays(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("tuned", container, "  scaling: {maxReplicas: 3}"))
	u.routed("tuned")
	const tuned = "{.spec.pollingInterval} {.spec.maxReplicaCount} {.spec.idleReplicaCount} {.spec.fallback.replicas} {.spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.stabilizationWindowSeconds} {.metadata.annotations.team}"
	u.kubectl("annotate", "scaledobject/tuned", "team=shop")
	u.kubectl("patch", "scaledobject", "tuned", "--type=merge", "--patch",
		`{"spec":{"pollingInterval":20,"maxReplicaCount":9,"fallback":{"failureThreshold":3,"replicas":2},"advanced":{"horizontalPodAutoscalerConfig":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":120}}}}}}`)
	u.eventually(soon, "what the app speaks of as it says, and what not as it was set", func() error {
		return u.field("scaledobject/tuned", tuned, "20 3  2 120 shop")
	})
	u.kubectl("patch", "httpapp", "tuned", "--type=merge", "--patch", `{"spec":{"scaling":{"maxReplicas":4}}}`)
	u.eventually(soon, "a change of the app leaving it alone", func() error {
		return u.field("scaledobject/tuned", tuned, "20 4  2 120 shop")
	})
	u.kubectl("patch", "httpapp", "tuned", "--type=merge", "--patch", `{"spec":{"scaling":{"pollingInterval":"7s","behavior":{"scaleDown":{"stabilizationWindowSeconds":30}}}}}`)
	u.eventually(soon, "the app's word, once it speaks of it", func() error {
		return u.field("scaledobject/tuned", tuned, "7 4  2 30 shop")
	})
}
