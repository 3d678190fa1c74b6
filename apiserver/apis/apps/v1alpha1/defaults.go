package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// The defaults of the fields that have one.
const (
	DefaultMaxReplicas int32 = 10
	DefaultTarget      int64 = 100
	DefaultWindow            = time.Minute
	DefaultCooldown          = 5 * time.Minute
	DefaultMaxPending  int32 = 1000
	DefaultMaxWait           = 2 * time.Minute
)

func addDefaultingFuncs(scheme *runtime.Scheme) error { return RegisterDefaults(scheme) }

// SetDefaults_Scaling fills what the user left open, except what depends on the server's settings.
func SetDefaults_Scaling(s *Scaling) {
	if s.MinReplicas == nil {
		s.MinReplicas = ptr.To[int32](0)
	}
	if s.MaxReplicas == nil {
		s.MaxReplicas = ptr.To(max(DefaultMaxReplicas, *s.MinReplicas))
	}
	if s.Metric == "" {
		s.Metric = MetricConcurrency
	}
	if s.Target == nil {
		s.Target = resource.NewQuantity(DefaultTarget, resource.DecimalSI)
	}
	if s.Window == nil {
		s.Window = &metav1.Duration{Duration: DefaultWindow}
	}
	if s.Cooldown == nil {
		s.Cooldown = &metav1.Duration{Duration: DefaultCooldown}
	}
	if s.Autoscaler == "" {
		s.Autoscaler = AutoscalerKEDA
	}
}

// SetDefaults_Queue bounds the queue: unbounded holding ends in running out of memory.
func SetDefaults_Queue(q *Queue) {
	if q.MaxPending == nil {
		q.MaxPending = ptr.To(DefaultMaxPending)
	}
	if q.MaxWait == nil {
		q.MaxWait = &metav1.Duration{Duration: DefaultMaxWait}
	}
}
