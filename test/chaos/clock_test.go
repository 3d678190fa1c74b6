package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv("CHAOS_CLOCK") == "" {
		os.Exit(m.Run())
	}
	// The process whose clock is set: for each line it tells what time it is, and how long it has run.
	began := time.Now()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(time.Now().UnixNano(), int64(time.Since(began)))
	}
}

func TestAProcessGoesByAnotherWallClockForAWhile(t *testing.T) {
	if runtime.GOARCH != "amd64" || os.Geteuid() != 0 {
		t.Skip("it takes root, and code that is made for amd64")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CHAOS_CLOCK=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = in.Close(), cmd.Wait() }()
	began, answers := time.Now(), bufio.NewReader(out)
	is := func(wrong time.Duration) {
		t.Helper()
		var wall, ran int64
		if _, err := fmt.Fprintln(in); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscanln(answers, &wall, &ran); err != nil {
			t.Fatal(err)
		}
		if off := time.Since(time.Unix(0, wall)) + wrong; off.Abs() > time.Minute {
			t.Errorf("its clock is wrong by %v, not by %v", wrong-off, wrong)
		}
		if ran := time.Duration(ran); ran < 0 || ran > time.Since(began) {
			t.Errorf("it says that it has run for %v", ran)
		}
	}
	is(0)
	was, at, err := clockCode(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []time.Duration{time.Hour, -time.Hour, 0} {
		if err := patch(cmd.Process.Pid, at, wrongBy(by)); err != nil {
			t.Fatal(err)
		}
		is(by)
	}
	if err := patch(cmd.Process.Pid, at, was); err != nil {
		t.Fatal(err)
	}
	is(0)
}
