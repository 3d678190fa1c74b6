// Package e2e tests kedahttp as its users meet it: with kubectl and HTTP requests, on a real Kubernetes with a real KEDA.
// The tests start a cluster of hack/cluster, install what the tree holds, and remove the cluster at the end:
//
//	make test-e2e
//
// With E2E_CLUSTER=NAME they use that running cluster as it is, and leave it. With E2E_KUBERNETES=1.35 the cluster that they start
// is of that release.
//
// What is different where there is no KEDA has the build tag withoutkeda, a name that begins with TestWithoutKEDA, and a cluster
// of its own: make test-e2e-without-keda.
package e2e
