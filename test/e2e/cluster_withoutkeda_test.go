//go:build e2e && withoutkeda

package e2e

// The cluster that is started for the tests, how, and what is put into it.
const defaultCluster = "e2e-without-keda"

// Certificates live for less than a minute, and pods hear of them in time, while all of these tests run.
var (
	upFlags      = []string{"--without-keda", "--sync", "1s"}
	installFlags = []string{"--overlay", "test/e2e/rotating"}
)
