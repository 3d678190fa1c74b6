package mount

import "testing"

func TestALineOfMountinfoIsUnderstood(t *testing.T) {
	for line, want := range map[string]Point{
		"36 35 98:0 /r /mnt/a rw,noatime master:1 - ext4 /dev/sda rw,errors=continue":     {"/mnt/a", "ext4", "rw,errors=continue"},
		`36 35 0:1 / /a\040b rw - tmpfs none rw`:                                          {"/a b", "tmpfs", "rw"},
		"40 31 0:37 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,name=systemd": {"/sys/fs/cgroup/systemd", "cgroup", "rw,name=systemd"},
	} {
		if got, ok := parse(line); !ok || got != want {
			t.Errorf("%s: got %v, %t", line, got, ok)
		}
	}
	for _, line := range []string{"", "36", "36 35 98:0 / /mnt rw ext4"} {
		if p, ok := parse(line); ok {
			t.Errorf("%q was read as %v", line, p)
		}
	}
}

func TestBelowMeansWholePathElements(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/run/a", "/run/a", true}, {"/run/a/b", "/run/a", true}, {"/run/a/b", "/run/a/", true},
		{"/run/ab", "/run/a", false}, {"/run", "/run/a", false},
	} {
		if got := Below(c.path, c.dir); got != c.want {
			t.Errorf("Below(%q, %q) = %t", c.path, c.dir, got)
		}
	}
}
