//go:build e2e && chart

package e2e

// The cluster that is started for the tests, how, and what is put into it: images, and nothing else.
const defaultCluster = "e2e-chart"

var (
	upFlags      = []string{"--enforce-network-policies", "--sync", "2s"}
	installFlags = []string{"--images-only"}
)
