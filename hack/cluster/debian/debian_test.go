package debian

import (
	"slices"
	"testing"
)

func TestEachMissingPackageIsNamedOnce(t *testing.T) {
	none := missing(func(string) bool { return false })
	if want := []string{"containerd", "runc", "containernetworking-plugins", "iptables", "mount"}; !slices.Equal(none, want) {
		t.Errorf("got %v, want %v", none, want)
	}
	if got := missing(func(program string) bool { return program != "ctr" }); !slices.Equal(got, []string{"containerd"}) {
		t.Errorf("got %v", got)
	}
	if got := missing(func(string) bool { return true }); got != nil {
		t.Errorf("got %v", got)
	}
}
