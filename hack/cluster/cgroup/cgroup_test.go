package cgroup

import "testing"

func TestAGroupHoldsItsChildrenButNotItsNamesakes(t *testing.T) {
	g := Group{Name: "kedahttp-a"}
	for listing, want := range map[string]bool{
		"9:name=systemd:/\n4:memory:/kedahttp-a/kubepods/pod1/x\n0::/\n": true,
		"4:memory:/kedahttp-a\n":          true,
		"0::/kedahttp-a/kubepods\n":       true,
		"4:memory:/kedahttp-a-b/kubepods": false,
		"4:memory:/other/kedahttp-a\n":    false,
		"":                                false,
	} {
		if got := g.listed(listing); got != want {
			t.Errorf("%q: %t, want %t", listing, got, want)
		}
	}
}
