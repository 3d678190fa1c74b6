package certificates

import (
	"errors"
	"fmt"
	"time"
)

// Lifetimes say how long certificates are good for.
type Lifetimes struct {
	// Authority and Leaf are for how long one is made. When a third of that is left there is a new one.
	Authority, Leaf time.Duration
	// Overlap is how long a new authority is only trusted before it signs anything in use, and how long the one before it is
	// trusted after nothing in use is signed by it any more. Those who have to hear of a change are the replicas, the host
	// cluster, and the pods that mount a Secret, which takes a kubelet up to two minutes.
	Overlap time.Duration
}

// DefaultLifetimes are those that nobody has to think about.
var DefaultLifetimes = Lifetimes{Authority: 10 * 365 * 24 * time.Hour, Leaf: 90 * 24 * time.Hour, Overlap: 10 * time.Minute}

// overlaps is how many overlaps a life has at least: its last third has to be longer than two, in which a leaf may have to wait for a
// new authority to be trusted, and be heard of itself.
const overlaps = 8

// Validate says which of the lifetimes does not go with the others, by the name that the user knows it by.
func (l Lifetimes) Validate(authority, leaf, overlap string) error {
	var errs []error
	if l.Overlap < time.Second {
		errs = append(errs, fmt.Errorf("%s: must be 1s or more", overlap))
	}
	if l.Leaf < overlaps*l.Overlap {
		errs = append(errs, fmt.Errorf("%s: must be at least %d times %s, %s", leaf, overlaps, overlap, overlaps*l.Overlap))
	}
	if l.Authority < l.Leaf {
		errs = append(errs, fmt.Errorf("%s: must not be shorter than %s", authority, leaf))
	}
	return errors.Join(errs...)
}

// period is how often the manager looks, for what gets old and what it did not hear of.
func (l Lifetimes) period() time.Duration {
	return min(max(l.Overlap/10, time.Second), time.Minute)
}

// skewOf is how far behind the clocks may be of those who check a certificate that is made for so long: by a day, for that of a machine that was
// set to another time zone's.
func skewOf(life time.Duration) time.Duration { return min(life/10, 24*time.Hour) }
