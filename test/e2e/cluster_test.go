//go:build e2e && !withoutkeda && !chart

package e2e

// The cluster that is started for the tests, how, and what is put into it.
const defaultCluster = "e2e"

var upFlags []string

var installFlags []string
