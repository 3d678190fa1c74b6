package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"maps"
	"sync"
	"time"
)

// expiries are when the certificates end that were seen last, by their Secret.
type expiries struct {
	mu  sync.Mutex
	all map[string]time.Time
}

func (e *expiries) note(secret string, p pair) {
	block, _ := pem.Decode(p.cert)
	if block == nil {
		return
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[string]time.Time{}
	}
	e.all[secret] = c.NotAfter
}

// Expiries are when the certificates that this manager keeps end, by the name of their Secret.
func (m *Manager) Expiries() map[string]time.Time {
	m.expiries.mu.Lock()
	defer m.expiries.mu.Unlock()
	return maps.Clone(m.expiries.all)
}
