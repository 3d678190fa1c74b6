package http2

import (
	"time"

	"golang.org/x/net/http2"
)

// flood counts the frames of a peer that bring nothing. Who sends very many in a short time wants something else than answers.
type flood struct {
	frames int
	since  time.Time
}

const (
	mostUseless = 10000
	floodTime   = 10 * time.Second
	// mostControls is how many answers may wait for a peer that asks for them and does not read them.
	mostControls = 10000
	// mostSettings is how many there may be in a frame: far more than there are.
	mostSettings = 100
)

// floods notes frames that may bring nothing. The lock is held.
func (c *Conn) floods(frames int) error {
	if c.controls > mostControls {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if c.moved {
		c.moved, c.flood.frames = false, 0
	}
	if c.flood.frames += frames; c.flood.frames <= mostUseless {
		return nil
	}
	now := time.Now()
	if now.Sub(c.flood.since) < floodTime {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	c.flood = flood{since: now}
	return nil
}

func (c *Conn) onData(f *http2.DataFrame) error {
	all, data := int32(f.Length), f.Data()
	if all > c.received {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	c.received -= all
	s := c.streams[f.StreamID]
	if s == nil || s.ended {
		c.give(all)
		switch {
		case s == nil && c.isIdle(f.StreamID):
			return http2.ConnectionError(http2.ErrCodeProtocol)
		case s == nil && (c.isForgotten(f.StreamID) || c.left):
			return c.floods(1)
		}
		return ofStream(f.StreamID, http2.ErrCodeStreamClosed)
	}
	if c.config.Client && !s.responded {
		c.give(all)
		return ofStream(f.StreamID, http2.ErrCodeProtocol)
	}
	if all > s.received {
		c.give(all)
		return ofStream(f.StreamID, http2.ErrCodeFlowControl)
	}
	if len(data) > 0 {
		c.flood.frames = 0
	} else if err := c.floods(1); err != nil && !f.StreamEnded() {
		return err
	}
	s.received -= all
	// What is there only to make the frame longer takes no space.
	padding := all - int32(len(data))
	c.give(padding)
	s.give(padding)
	s.got += int64(len(data))
	s.Moved.Add(uint64(len(data)))
	if s.declared >= 0 && (s.got > s.declared || f.StreamEnded() && s.got != s.declared) {
		c.give(int32(len(data)))
		return ofStream(f.StreamID, http2.ErrCodeProtocol)
	}
	kept := s.charge(len(data))
	if kept {
		s.body = append(s.body, data...)
	}
	switch {
	case !kept:
		c.give(int32(len(data)))
	case s.memory != nil:
		s.lent += int32(len(data))
		c.give(int32(len(data)))
	}
	if f.StreamEnded() {
		s.end()
	}
	s.arrived.Signal()
	return nil
}

// give gives the peer's window back what does not take space any more. The lock is held.
func (c *Conn) give(n int32) {
	if c.given += n; c.given < connWindow/4 {
		return
	}
	c.out = appendWindowUpdate(c.buffer(), 0, c.given)
	c.received += c.given
	c.given = 0
	c.flush()
}

func (c *Conn) onWindowUpdate(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if !grow(&c.window, int64(f.Increment)) {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.pass()
		return nil
	}
	s := c.streams[f.StreamID]
	switch {
	case s != nil:
		if !grow(&s.window, int64(f.Increment)) {
			return ofStream(f.StreamID, http2.ErrCodeFlowControl)
		}
		s.room.Signal()
	case c.isIdle(f.StreamID):
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

// grow changes a window, unless it would be larger than it can be (RFC 9113 section 6.9.1).
func grow(window *int32, by int64) bool {
	if n := int64(*window) + by; n <= mostID {
		*window = int32(n)
		return true
	}
	return false
}

func (c *Conn) onReset(f *http2.RSTStreamFrame) error {
	s := c.streams[f.StreamID]
	switch {
	case s != nil && c.config.Client && s.ended:
		s.stop()
	case s != nil && c.config.Client && f.ErrCode == http2.ErrCodeRefusedStream:
		c.lose(s, ErrUnprocessed)
	case s != nil:
		c.lose(s, &Reset{Code: f.ErrCode})
	case c.isIdle(f.StreamID):
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return c.floods(1)
}

func (c *Conn) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return c.floods(1)
	}
	if f.NumSettings() > mostSettings {
		return http2.ConnectionError(http2.ErrCodeProtocol) // each of them may cost as much as there are streams
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingMaxFrameSize:
			c.frameSize = int(min(s.Val, 64<<10))
		case http2.SettingMaxConcurrentStreams:
			c.mostStreams = s.Val
		case http2.SettingEnablePush:
			if c.config.Client && s.Val != 0 {
				return http2.ConnectionError(http2.ErrCodeProtocol)
			}
		case http2.SettingInitialWindowSize:
			by := int64(s.Val) - int64(c.firstWindow)
			c.firstWindow = int32(s.Val)
			for _, stream := range c.streams {
				if !grow(&stream.window, by) {
					return http2.ConnectionError(http2.ErrCodeFlowControl)
				}
				stream.room.Signal()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.meet()
	c.out = appendSettingsAck(c.buffer())
	c.controls++
	c.flush()
	return c.floods(1)
}

func (c *Conn) onPing(f *http2.PingFrame) error {
	if f.IsAck() {
		if c.leaving && f.Data == lastPing {
			c.leaveNow()
		}
		return c.floods(1)
	}
	c.out = appendPing(c.buffer(), true, f.Data)
	c.controls++
	c.flush()
	return c.floods(1)
}

// onGoAway is told that the peer opens no more streams, or takes no more.
func (c *Conn) onGoAway(f *http2.GoAwayFrame) {
	if !c.config.Client {
		c.leave()
		return
	}
	c.leaving = true
	for id, s := range c.streams {
		if id > f.LastStreamID {
			c.lose(s, ErrUnprocessed)
		}
	}
}
