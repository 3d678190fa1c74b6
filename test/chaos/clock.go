package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A machine has one clock for all, and time namespaces have no wall clock of their own. What a process reads its clock by, though, is code that the
// kernel maps into it, and that is the process's own once it is written to.

// asked is the function of that code (the vDSO) that Go reads clocks by.
const asked = "__vdso_clock_gettime"

// wrongBy is a function in its place that asks the kernel, and adds some seconds to what it says of the wall clock, which is number 0.
func wrongBy(by time.Duration) []byte {
	code := []byte{
		0xb8, unix.SYS_CLOCK_GETTIME, 0, 0, 0, // mov eax, SYS_clock_gettime
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi
		0x75, 0x07, // jne over the next
		0x48, 0x81, 0x06, // add qword [rsi], …
	}
	code = binary.LittleEndian.AppendUint32(code, uint32(int32(by/time.Second)))
	return append(code, 0xc3) // ret
}

// wrongClock has the first pod of a kind go by a wall clock that differs from the machine's, while its monotonic one goes on. What it answers at the
// URL's port and path tells whether it does.
func wrongClock(c *cluster, selector string, by time.Duration, scheme, portAndPath string) func(context.Context) (func() error, error) {
	return func(ctx context.Context) (func() error, error) {
		pods, err := c.pods(ctx, system, selector)
		if err != nil {
			return nil, err
		}
		pids, err := processes(pods[0])
		if err != nil {
			return nil, err
		}
		url := scheme + "://" + pods[0].Status.PodIP + portAndPath
		var mends []func() error
		for _, pid := range pids {
			was, at, err := clockCode(pid)
			if err != nil {
				return joined(mends), err
			}
			mends = append(mends, sync.OnceValue(func() error { return patch(pid, at, was) }))
			if err := patch(pid, at, wrongBy(by)); err != nil {
				return joined(mends), err
			}
		}
		return joined(mends), c.until(ctx, 10*time.Second, "a clock that is wrong", func() error {
			told, err := dateAt(ctx, url)
			if err == nil && (time.Until(told)-by).Abs() > time.Minute {
				err = fmt.Errorf("%s tells %v", url, told)
			}
			return err
		})
	}
}

// clockCode finds the function in a process: where it begins, and as many of its bytes as are to be replaced.
func clockCode(pid int) (code []byte, at int64, err error) {
	begin, end, err := vdso(pid)
	if err != nil {
		return nil, 0, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, 0, err
	}
	defer mem.Close() //nolint:errcheck // it is only read
	image := make([]byte, end-begin)
	if _, err := mem.ReadAt(image, begin); err != nil {
		return nil, 0, err
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, 0, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == asked })
	need := len(wrongBy(0))
	if i < 0 || symbols[i].Size < uint64(need) || symbols[i].Value+uint64(need) > uint64(len(image)) {
		return nil, 0, fmt.Errorf("the process %d has no %s of %d bytes", pid, asked, need)
	}
	from := int64(symbols[i].Value)
	return slices.Clone(image[from : from+int64(need)]), begin + from, nil
}

// vdso is where the code is mapped.
func vdso(pid int) (begin, end int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x", &begin, &end)
			return begin, end, err
		}
	}
	return 0, 0, fmt.Errorf("the process %d has no vDSO", pid)
}

// patch replaces code of the vDSO while no thread is in it.
func patch(pid int, at int64, code []byte) (err error) {
	begin, end, err := vdso(pid)
	if err != nil {
		return err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mem.Close()) }()
	for range 100 {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			return err
		}
		free, err := stoppedOutside(pid, begin, end)
		if free && err == nil {
			_, err = mem.WriteAt(code, at)
		}
		if err = errors.Join(err, unix.Kill(pid, unix.SIGCONT)); err != nil || free {
			return err
		}
	}
	return fmt.Errorf("some thread of the process %d always reads the clock", pid)
}

// stoppedOutside reports whether all threads of a process that was told to stop have, at other instructions than those.
func stoppedOutside(pid int, begin, end int64) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		return false, err
	}
	for _, thread := range threads {
		said, err := os.ReadFile(thread) // what it is in, the stack pointer, and the instruction pointer; or that it runs
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return false, err
		}
		fields := strings.Fields(string(said))
		if len(fields) < 3 {
			return false, nil
		}
		instruction, err := strconv.ParseInt(fields[len(fields)-1], 0, 64)
		if err != nil || instruction >= begin && instruction < end {
			return false, err
		}
	}
	return true, nil
}

// dateAt is what time it is by the clock of who answers.
func dateAt(ctx context.Context, url string) (time.Time, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return time.Time{}, err
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // whose clock it is matters, and not who it is
	res, err := (&http.Client{Transport: t, Timeout: 5 * time.Second}).Do(r)
	if err != nil {
		return time.Time{}, err
	}
	if err := res.Body.Close(); err != nil {
		return time.Time{}, err
	}
	return http.ParseTime(res.Header.Get("Date"))
}
