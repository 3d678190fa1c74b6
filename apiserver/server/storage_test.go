package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestStorageHasWhatItsKindNeedsAndNothingElse(t *testing.T) {
	for flags, want := range map[string]string{
		"": "",
		"--storage=etcd --etcd-servers=http://localhost:2379": "",
		"--storage=embedded --embedded-etcd-data-dir=/x":      "",
		"--storage=etcd":                       "--etcd-servers must be specified",
		"--storage=embedded":                   "--embedded-etcd-data-dir: must be there",
		"--storage=sqlite":                     "--storage: \"sqlite\" is none of records, etcd, embedded",
		"--embedded-etcd-data-dir=/x":          "--embedded-etcd-data-dir: must be there with --storage=embedded, and only then",
		"--etcd-servers=http://localhost:2379": "--etcd-servers: not with --storage=records",
		"--storage=embedded --embedded-etcd-data-dir=/x --etcd-servers=http://a": "--etcd-servers: not with --storage=embedded",
	} {
		options := NewStorageOptions()
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		options.AddFlags(fs)
		if err := fs.Parse(strings.Fields(flags)); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(options.Validate()...)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flags, err)
		}
	}
}
