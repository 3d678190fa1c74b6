// Package mount knows what is mounted where.
package mount

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Point is one line of /proc/self/mountinfo.
type Point struct {
	Path string
	Type string
	// Options are those of the file system, such as a cgroup hierarchy's controllers.
	Options string
}

// Points lists all mounts in the order in which they were made.
func Points() ([]Point, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var points []Point
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // an overlay of many layers makes a long line
	for lines.Scan() {
		if p, ok := parse(lines.Text()); ok {
			points = append(points, p)
		}
	}
	return points, lines.Err()
}

// parse reads "36 35 98:0 /root /path rw,noatime shared:1 - ext4 /dev/sda rw".
func parse(line string) (Point, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, tail := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 5 || len(tail) < 2 {
		return Point{}, false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	p := Point{Path: unescape.Replace(fields[4]), Type: tail[0]}
	if len(tail) > 2 {
		p.Options = tail[2]
	}
	return p, true
}

// Below says whether path is dir or in it.
func Below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// UnmountBelow unmounts everything in the folders, the newest first, until nothing is left.
func UnmountBelow(dirs ...string) error {
	for range 10 { // a mount may hide others
		points, err := Points()
		if err != nil {
			return err
		}
		var failed error
		found := false
		for i := len(points) - 1; i >= 0; i-- {
			for _, dir := range dirs {
				if !Below(points[i].Path, dir) {
					continue
				}
				found = true
				if err := unix.Unmount(points[i].Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
					failed = errors.Join(failed, fmt.Errorf("unmount %s: %w", points[i].Path, err))
				}
			}
		}
		if !found || failed != nil {
			return failed
		}
	}
	return fmt.Errorf("new mounts keep appearing below %s", strings.Join(dirs, " and "))
}
