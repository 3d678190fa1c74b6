// Package e2e tests kedahttp as its users meet it: with kubectl and HTTP requests, on a real Kubernetes with a real KEDA.
// The tests start a cluster of hack/cluster, install what the tree holds, and remove the cluster at the end:
//
//	make test-e2e
//
// With E2E_CLUSTER=NAME they use that running cluster as it is, and leave it. With E2E_KUBERNETES=1.35 the cluster that they start
// is of that release.
//
// A test runs beside others, unless it disturbs the system or measures what every other test would disturb: those run alone. make test-e2e
// has a cluster for either kind, by E2E_ONLY=beside and E2E_ONLY=alone; with E2E_CLUSTER those that run alone are the first.
//
// What is different where there is no KEDA has the build tag withoutkeda, a name that begins with TestWithoutKEDA, and a cluster
// of its own: make test-e2e-without-keda.
package e2e
