// Command apiserver is the aggregated API server of kedahttp.
package main

import (
	"fmt"
	"os"

	genericserver "k8s.io/apiserver/pkg/server"

	"github.com/kedahttp/kedahttp/apiserver/server"
)

func main() {
	if err := server.NewCommand().ExecuteContext(genericserver.SetupSignalContext()); err != nil {
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
}
