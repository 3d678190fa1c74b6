package certificates

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// listen returns a channel that has something when somebody changed what the manager keeps: the Secrets, and the APIService.
func (m *Manager) listen(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	for _, leaf := range append([]Leaf{{Secret: AuthoritySecret}}, m.all()...) {
		go m.hear(ctx, m.Client.CoreV1().Secrets(m.namespaceOf(leaf)).Watch, leaf.Secret, wake)
	}
	if m.APIService != "" {
		go m.hear(ctx, m.Dynamic.Resource(apiServices).Watch, m.APIService, wake)
	}
	return changed
}

// hear calls wake after every change of the object, until the context ends.
func (m *Manager) hear(ctx context.Context, start func(context.Context, metav1.ListOptions) (watch.Interface, error), name string, wake func()) {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
	for ctx.Err() == nil {
		begun := m.Clock.Now()
		if w, err := start(ctx, options); err == nil {
			for range w.ResultChan() {
				wake()
			}
			w.Stop()
		}
		// Watches end every now and then, and begin again at once; what fails is not tried more often than this.
		if pause := retry - m.Clock.Since(begun); pause > 0 {
			select {
			case <-ctx.Done():
			case <-m.Clock.After(pause):
			}
		}
	}
}
