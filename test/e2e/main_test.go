//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// environment is where the tests run.
var environment struct {
	// interceptor is the loopback address of the interceptors' HTTP port.
	interceptor string
	// only is which tests are run, beside or alone; all are without.
	only string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	switch environment.only = os.Getenv("E2E_ONLY"); environment.only {
	case "", "alone", "beside":
	default:
		return 0, fmt.Errorf("E2E_ONLY is neither alone nor beside but %q", environment.only)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return 0, err
	}
	harness := func(args ...string) error {
		cmd := exec.Command(filepath.Join(root, "bin", "cluster"), args...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("cluster %s: %w", strings.Join(args, " "), err)
		}
		return nil
	}

	name := os.Getenv("E2E_CLUSTER")
	if name == "" {
		name = defaultCluster
		if environment.only == "alone" {
			name += "-alone"
		}
		flags := upFlags
		if release := os.Getenv("E2E_KUBERNETES"); release != "" {
			name += "-" + strings.ReplaceAll(release, ".", "-")
			flags = append(flags, "--kubernetes", release)
		}
		defer func() {
			if err := harness("down", name); err != nil {
				fmt.Fprintln(os.Stderr, "e2e:", err)
			}
		}()
		if err := harness(append([]string{"up", name}, flags...)...); err != nil {
			return 0, err
		}
		if err := harness(append([]string{"install", name, "--repo", root}, installFlags...)...); err != nil {
			return 0, err
		}
	}
	if err := adopt(filepath.Join(root, "bin"), name); err != nil {
		return 0, err
	}
	code := m.Run()
	if err := allGone(); err != nil {
		return code, err
	}
	// Of some of the tests it does not follow.
	if code != 0 || flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" {
		return code, nil
	}
	missing, err := notRun()
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("no test has run the plugin's %s", strings.Join(missing, ", "))
	}
	return code, err
}

// adopt takes over the environment in which a shell would use the cluster, and puts the plugin where kubectl finds it.
func adopt(bin, name string) error {
	out, err := exec.Command("sh", "-c", `eval "$("$0" env "$1")" && env -0`, filepath.Join(bin, "cluster"), name).Output()
	if err != nil {
		return fmt.Errorf("cluster env %s: %w", name, err)
	}
	for _, assignment := range strings.Split(string(out), "\x00") {
		key, value, ok := strings.Cut(assignment, "=")
		if !ok {
			continue
		}
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	if err := os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return err
	}
	u, err := url.Parse(os.Getenv("KEDAHTTP_INTERCEPTOR"))
	if err != nil || u.Host == "" {
		return fmt.Errorf("cluster env %s does not name the interceptor's address: %q", name, os.Getenv("KEDAHTTP_INTERCEPTOR"))
	}
	environment.interceptor = u.Host
	return nil
}
