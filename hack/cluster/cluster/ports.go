package cluster

import (
	"fmt"
	"net"
)

// Ports are the ports on the host's loopback address through which the host reaches the cluster.
type Ports struct {
	APIServer int `json:"apiserver"`
	HTTP      int `json:"http"`
	HTTPS     int `json:"https"`
}

// The range is below the one that the kernel gives to outgoing connections (32768 and up), so that a port
// which is remembered while nobody listens on it is not taken by chance.
const (
	firstPort = 18000
	lastPort  = 19999
)

func (p Ports) list() []int { return []int{p.APIServer, p.HTTP, p.HTTPS} }

// ClaimPorts returns the ports that the cluster has, or gives it free ones, and remembers them in its state. Ports of
// other clusters are taken even while those do not run.
func (c Cluster) ClaimPorts() (Ports, error) {
	unlock, err := c.roots.lock(".ports.lock", func() {})
	if err != nil {
		return Ports{}, err
	}
	defer unlock()
	state, _ := c.Load()
	if state.Ports != (Ports{}) {
		return state.Ports, nil
	}
	others, err := c.roots.All()
	if err != nil {
		return Ports{}, err
	}
	taken := map[int]bool{}
	for _, other := range others {
		s, _ := other.Load() // an unreadable state holds no ports
		for _, port := range s.Ports.list() {
			taken[port] = true
		}
	}
	picked, err := pick(3, func(port int) bool { return !taken[port] && bindable(port) })
	if err != nil {
		return Ports{}, err
	}
	state.Ports = Ports{APIServer: picked[0], HTTP: picked[1], HTTPS: picked[2]}
	return state.Ports, c.Save(state)
}

func pick(n int, free func(int) bool) ([]int, error) {
	var picked []int
	for port := firstPort; port <= lastPort; port++ {
		if free(port) {
			if picked = append(picked, port); len(picked) == n {
				return picked, nil
			}
		}
	}
	return nil, fmt.Errorf("no %d free ports on 127.0.0.1 between %d and %d", n, firstPort, lastPort)
}

func bindable(port int) bool {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return false
	}
	return l.Close() == nil
}
