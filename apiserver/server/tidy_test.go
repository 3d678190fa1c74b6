package server

import (
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

func TestMemoryIsGivenBackAfterLargeListsAndNotTooOften(t *testing.T) {
	now := testingclock.NewFakeClock(time.Now())
	freed := 0
	tidier := &tidier{clock: now, free: func() { freed++ }}
	expect := func(after time.Duration, want int) {
		t.Helper()
		now.Step(after)
		if freed != want {
			t.Errorf("it was given back %d times, not %d", freed, want)
		}
	}
	tidier.listed(largeList - 1)
	expect(time.Hour, 0)
	for range 5 {
		tidier.listed(largeList)
		expect(tidied/2, 0)
	}
	expect(tidied, 1)
	expect(time.Hour, 1)
	tidier.listed(largeList)
	expect(tidied, 2)
	tidier.listed(largeList)
	expect(tidied, 2)
	tidier.listed(largeList)
	expect(tidiedAgain-tidied-time.Second, 2)
	expect(time.Second, 3)
}
