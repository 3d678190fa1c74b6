package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a subject: a server that answers at an address, with its children.
type process struct {
	name, address string
	cmd           *exec.Cmd
	// http2 and grpc are where HTTP/2 is spoken, in front of the backend that is measured with HTTP/1.1 and of the one of gRPC.
	http2, grpc string
	// tls is where HTTP/1.1 and HTTP/2 are spoken with TLS.
	tls string
	// admin is where an interceptor tells of itself.
	admin string
}

// startRole starts this binary in another role.
func startRole(ctx context.Context, name, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := command(ctx, self, append([]string{role}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s did not say where it listens: %w", name, err)
	}
	return &process{name: name, address: strings.TrimSpace(line), cmd: cmd}, nil
}

// startServer starts a program that listens at an address which was chosen for it.
func startServer(ctx context.Context, name, address string, cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, address: address, cmd: cmd}
	err := eventually(ctx, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%s does not listen: %w", name, err)
	}
	return p, nil
}

// command ends with this process, and has its errors where this process has them.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

func (p *process) stop() {
	if p == nil || p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	patience := time.AfterFunc(2*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer patience.Stop()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// tick is the kernel's unit of CPU time in /proc (USER_HZ), the same on every architecture that matters.
const tick = 10 * time.Millisecond

// cpu is the time that the process and its children have had, in user space and in the kernel.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	err := p.each(func(_ string, s stat) error {
		sum += s.cpu
		return nil
	})
	return sum, err
}

// rss is what the process and its children have in memory, in bytes.
func (p *process) rss() (float64, error) {
	var sum float64
	err := p.each(func(dir string, _ stat) error {
		data, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			return err
		}
		_, rest, ok := strings.Cut(string(data), "\nVmRSS:")
		if !ok {
			return fmt.Errorf("%s/status says nothing of VmRSS", dir)
		}
		kB, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		sum += kB * 1024
		return err
	})
	return sum, err
}

func (p *process) each(do func(dir string, s stat) error) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	found := false
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		s, err := parseStat(string(data))
		if err != nil {
			return fmt.Errorf("%s/stat: %w", dir, err)
		}
		if s.pid != p.cmd.Process.Pid && s.parent != p.cmd.Process.Pid {
			continue
		}
		found = true
		if err := do(dir, s); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s has ended", p.name)
	}
	return nil
}

// stat is what is needed of /proc/PID/stat.
type stat struct {
	pid, parent int
	cpu         time.Duration
}

func parseStat(line string) (s stat, err error) {
	// The second field is the program's name in parentheses, which may have spaces and parentheses itself.
	before, _, _ := strings.Cut(line, " ")
	end := strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[end+1:])
	if end < 0 || len(fields) < 13 {
		return s, errors.New("too few fields")
	}
	number := func(field string) (n int) {
		if err == nil {
			n, err = strconv.Atoi(field)
		}
		return n
	}
	s.pid, s.parent = number(before), number(fields[1])
	s.cpu = time.Duration(number(fields[11])+number(fields[12])) * tick
	return s, err
}

// eventually tries until it succeeds, for ten seconds.
func eventually(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}

// freeAddresses are different ones that nobody listens at now.
func freeAddresses(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() //nolint:errcheck // it was only for the number
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
