package balance

// Description is what a pool knows of an address.
type Description struct {
	InFlight int64
	// Near says that it is in the interceptor's own zone.
	Near bool
	// Quarantined says that it could not be connected to and is left out for a moment; Failures, how often in a row.
	Quarantined bool
	Failures    int
}

// Describe returns what is known of each address, those included that are not ready any more and have requests.
func (p *Pool) Describe() map[string]Description {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]Description, len(p.all)+len(p.leaving))
	for address, requests := range p.leaving {
		if n := requests.Load(); n > 0 && n < forgotten {
			all[address] = Description{InFlight: n}
		}
	}
	for address, e := range p.all {
		all[address] = Description{InFlight: e.InFlight(), Near: e.near, Quarantined: e.out, Failures: int(e.failures.Load())}
	}
	return all
}
