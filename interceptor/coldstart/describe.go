package coldstart

import (
	"time"

	"github.com/kedahttp/kedahttp/interceptor/endpoints"
)

// Description is what a Starter knows of a pod.
type Description struct {
	endpoints.Endpoint
	// Answered says that it takes requests because it answered, although its slice does not say yet that it is ready.
	Answered bool
	// Asked says that it is being asked whether it is ready.
	Asked bool
}

// Describe returns what is known of the pods, and when the cold start began that requests wait for; zero if none do.
func (s *Starter) Describe() (pods []Description, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.known {
		pods = append(pods, Description{
			Endpoint: a.Endpoint, Answered: !a.Ready && !a.usableSince.IsZero(), Asked: a.stop != nil,
		})
	}
	if s.start != nil {
		began = s.start.began
	}
	return pods, began
}
