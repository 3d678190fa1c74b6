package routing

import (
	"hash/maphash"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// hosts are the rules of hosts by name, in parts that do not change: a change copies one of them.
type hosts[T any] struct {
	seed  maphash.Seed
	parts *[256]atomic.Pointer[map[string]*host[T]]
	count *atomic.Int64
}

// host has the rules of one host. It does not change.
type host[T any] struct {
	// everything has the rules of all paths, prefixes those of path prefixes, which have no slash at their end.
	everything []rule[T]
	prefixes   map[string][]rule[T]
	// longest is the length of the longest prefix.
	longest int
}

// rule is one route of one host and prefix.
type rule[T any] struct {
	headers []v1alpha1.HeaderMatch
	to      T
}

func newHosts[T any]() hosts[T] {
	return hosts[T]{seed: maphash.MakeSeed(), parts: new([256]atomic.Pointer[map[string]*host[T]]), count: new(atomic.Int64)}
}

func (h hosts[T]) part(name string) *atomic.Pointer[map[string]*host[T]] {
	return &h.parts[maphash.String(h.seed, name)%uint64(len(h.parts))]
}

func (h hosts[T]) empty() bool { return h.count.Load() == 0 }

// set puts rules in the place of those of a prefix. One at a time may.
func (h hosts[T]) set(name, prefix string, rules []rule[T]) {
	part := h.part(name)
	all := map[string]*host[T]{}
	if old := part.Load(); old != nil {
		all = maps.Clone(*old)
	}
	before := all[name]
	after := before.with(prefix, rules)
	switch {
	case after != nil:
		all[name] = after
		if before == nil {
			h.count.Add(1)
		}
	case before != nil:
		delete(all, name)
		h.count.Add(-1)
	}
	part.Store(&all)
}

// with returns the host with these rules of a prefix; nil without any rule.
func (h *host[T]) with(prefix string, rules []rule[T]) *host[T] {
	next := &host[T]{}
	if h != nil {
		*next = *h
	}
	if prefix == "" {
		next.everything = rules
	} else {
		next.prefixes = maps.Clone(next.prefixes)
		if next.prefixes == nil {
			next.prefixes = map[string][]rule[T]{}
		}
		if len(rules) > 0 {
			next.prefixes[prefix] = rules
		} else {
			delete(next.prefixes, prefix)
		}
		next.longest = 0
		for p := range next.prefixes {
			next.longest = max(next.longest, len(p))
		}
	}
	if len(next.everything) == 0 && len(next.prefixes) == 0 {
		return nil
	}
	return next
}

func (h hosts[T]) match(name, path string, header Header) (to T, ok bool) {
	all := h.part(name).Load()
	if all == nil {
		return to, false
	}
	of := (*all)[name]
	if of == nil {
		return to, false
	}
	if len(of.prefixes) > 0 {
		// What is as long as a prefix can be, and then what is before each of its slashes.
		end := len(path)
		if end > of.longest {
			end = strings.LastIndexByte(path[:of.longest+1], '/')
		}
		for ; end > 0; end = strings.LastIndexByte(path[:end], '/') {
			if to, ok = match(of.prefixes[path[:end]], header); ok {
				return to, true
			}
		}
	}
	return match(of.everything, header)
}

func match[T any](rules []rule[T], header Header) (to T, ok bool) {
rules:
	for i := range rules {
		for _, h := range rules[i].headers {
			if header == nil || !header.Has(h.Name, h.Value) {
				continue rules
			}
		}
		return rules[i].to, true
	}
	return to, false
}
