//go:build e2e && withoutkeda

package e2e

// The cluster that is started for the tests, how, and what is put into it.
const defaultCluster = "e2e-without-keda"

var upFlags = []string{"--without-keda"}

var installFlags []string
