//go:build e2e

package e2e

import "testing"

// KEDA has one connection to one of two scalers. Both are told of the counts, so that the other knows as much when that one is killed.
func TestOneOfTwoScalersMayBeKilledUnderLoad(t *testing.T) {
	u := onlyUser(t)
	o := operator(t)
	const deployment, pods = "deployment/kedahttp-scaler", "app.kubernetes.io/name=kedahttp-scaler"
	before := o.kubectl("get", deployment, "-o", "jsonpath={.spec.replicas}")
	t.Cleanup(func() { o.kubectl("scale", deployment, "--replicas="+before) })
	o.kubectl("scale", deployment, "--replicas=2")
	o.kubectl("rollout", "status", deployment, "--timeout=2m")
	u.apply(manifest("steady", container, "  scaling: {minReplicas: 1, maxReplicas: 6, target: 2, cooldown: 3s}"))
	u.routed("steady")
	stop := u.load("steady", 6, "/?delay=500ms")
	desired := func(replicas string) func() error {
		return func() error {
			return u.field("hpa/keda-hpa-steady", `{.status.desiredReplicas} {.status.conditions[?(@.type=="ScalingActive")].status}`, replicas+" True")
		}
	}
	u.eventually(later, "as many replicas as the requests call for", desired("3"))
	// One after the other, so that whichever KEDA is connected to is among them.
	for _, replicas := range []string{"4", "5"} {
		oldest := o.kubectl("get", "pods", "-l", pods, "--sort-by=.metadata.creationTimestamp", "-o", "jsonpath={.items[0].metadata.name}")
		o.kubectl("delete", "pod", oldest, "--force", "--grace-period=0")
		defer u.load("steady", 2, "/?delay=500ms")()
		u.eventually(later, replicas+" replicas, by the scaler that is left", desired(replicas))
		o.kubectl("rollout", "status", deployment, "--timeout=2m")
	}
	stop()
}
