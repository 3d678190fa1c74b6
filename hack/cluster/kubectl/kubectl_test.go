package kubectl

import (
	"slices"
	"testing"
)

func TestThePodsThatAreNotReadyAreTheInterestingOnes(t *testing.T) {
	const ready, not = `{"type":"Ready","status":"True"}`, `{"type":"Ready","status":"False"}`
	pod := func(name, condition string) string {
		return `{"metadata":{"name":"` + name + `"},"status":{"conditions":[` + condition + `]}}`
	}
	for list, want := range map[string][]string{
		pod("a", ready) + "," + pod("b", not) + "," + pod("c", ""): {"b", "c"},
		pod("a", ready) + "," + pod("b", ready):                    {"a", "b"},
		"":                                                         nil,
		"{":                                                        nil,
	} {
		if got := unready([]byte(`{"items":[` + list + `]}`)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", list, got, want)
		}
	}
}
