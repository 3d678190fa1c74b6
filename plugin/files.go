package plugin

import (
	"strings"

	cliresource "k8s.io/cli-runtime/pkg/resource"
)

// readFiles reads whatever objects are in files, in a folder of them, or on stdin. It takes no cluster.
func (s *session) readFiles(named string) ([]*cliresource.Info, error) {
	builder := s.factory.NewBuilder().Unstructured().Local().ContinueOnError()
	if named == "-" {
		builder.Stream(s.In, "stdin")
	} else {
		builder.Path(true, strings.Split(named, ",")...)
	}
	return builder.Flatten().Do().Infos()
}
