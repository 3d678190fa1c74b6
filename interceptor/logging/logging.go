// Package logging lets all parts log alike: as text or, with --logging-format=json, as JSON, an object a line.
package logging

import (
	"errors"

	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json

	"github.com/kedahttp/kedahttp/interceptor/admin"
)

// AddFlags adds the flags that the components of Kubernetes have. They count when apply is called, which a process does once.
func AddFlags(flags *pflag.FlagSet) (apply func() error) {
	c := logsapi.NewLoggingConfiguration()
	logsapi.AddFlags(c, flags)
	return func() error {
		err := admin.CheckVerbosity(int(c.Verbosity))
		for _, of := range c.VModule {
			err = errors.Join(err, admin.CheckVerbosity(int(of.Verbosity)))
		}
		if err != nil {
			return err
		}
		return logsapi.ValidateAndApply(c, nil)
	}
}
