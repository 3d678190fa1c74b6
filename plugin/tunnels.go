package plugin

import "sync"

// tunnels is a tunnel that is dug again when the interceptor at its end has gone.
type tunnels struct {
	open func() (*tunnel, error)

	mu  sync.Mutex
	now *tunnel
}

func (t *tunnels) current() (*tunnel, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now != nil {
		select {
		case <-t.now.done:
			t.now.stop()
			t.now = nil
		default:
			return t.now, nil
		}
	}
	opened, err := t.open()
	if err == nil {
		t.now = opened
	}
	return opened, err
}
