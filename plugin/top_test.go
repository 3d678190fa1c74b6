package plugin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// busy is an app with requests.
func busy(name string, pending, inFlight, rate int64, replicas int32) v1alpha1.HTTPApp {
	return v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Status: v1alpha1.HTTPAppStatus{
			Replicas: replicas, ReadyReplicas: replicas,
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}},
			Traffic:    &v1alpha1.Traffic{Pending: pending, InFlight: inFlight, RequestRate: *apiresource.NewQuantity(rate, apiresource.DecimalSI)},
		},
	}
}

// screen is a top of 100 by 9 with three apps and the keys that were pressed.
func screen(keys ...string) *topModel {
	m := newTopModel("namespace shop", palette{}, func() time.Time { return noon })
	m.Update(tea.WindowSizeMsg{Width: 100, Height: 9})
	m.Update(update{apps: []v1alpha1.HTTPApp{busy("quiet", 0, 0, 0, 0), busy("fast", 0, 1, 40, 2), busy("full", 7, 2, 9, 1)}})
	for range 3 {
		m.Update(second{})
	}
	for _, key := range keys {
		m.Update(keyOf(key))
	}
	return m
}

func keyOf(key string) tea.KeyPressMsg {
	named := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "down": tea.KeyDown, "up": tea.KeyUp, "backspace": tea.KeyBackspace}
	if code, ok := named[key]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	return tea.KeyPressMsg{Code: []rune(key)[0], Text: key}
}

func TestTopShowsTheLongestQueueFirst(t *testing.T) {
	const want = `3 apps of namespace shop: 7 pending, 3 in flight, 49/s
  APP    STATE    PENDING IN-FLIGHT   REQ/S                                            READY   COLD
  full   serving        7         2       9                                     ███      1/1      0
  fast   serving        0         1      40                                     ███      2/2      0
  quiet  idle           0         0       0                                              0/0      0



q quit  ↑↓ choose  enter open  / filter  s sort by queue  S turn around`
	if got := screen().text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTopsKeysSortFilterAndOpen(t *testing.T) {
	order := func(m *topModel) string {
		var names []string
		for _, row := range m.visible() {
			names = append(names, row.now.Name)
		}
		return strings.Join(names, " ")
	}
	for keys, want := range map[string]string{
		"":                         "full fast quiet",
		"s":                        "fast full quiet",
		"s s s s":                  "fast full quiet",
		"S":                        "quiet fast full",
		"/ f u":                    "full",
		"/ f u backspace":          "full fast",
		"/ f u esc":                "full fast quiet",
		"/ i d l e enter":          "quiet",
		"/ n o t h i n g":          "",
		"down down down down":      "full fast quiet",
		"/ q esc s S S down enter": "fast full quiet",
	} {
		if got := order(screen(strings.Fields(keys)...)); got != want {
			t.Errorf("after %q it shows %q, not %q", keys, got, want)
		}
	}
	m := screen("down", "down", "enter")
	if m.opened != (types.NamespacedName{Namespace: "shop", Name: "fast"}) || !strings.Contains(m.text(), "shop/fast") || !strings.Contains(m.text(), "esc back") {
		t.Errorf("opened is %v:\n%s", m.opened, m.text())
	}
	m.Update(keyOf("esc"))
	if !strings.Contains(m.text(), "> fast") {
		t.Errorf("back in the list, the app is not marked:\n%s", m.text())
	}
	// An app that is open and deleted leaves the list.
	m.Update(keyOf("enter"))
	m.Update(update{gone: []types.NamespacedName{{Namespace: "shop", Name: "fast"}}})
	if text := m.text(); strings.Contains(text, "fast") || !strings.Contains(text, "2 apps") {
		t.Errorf("it shows\n%s", text)
	}
	if _, cmd := m.Update(keyOf("q")); cmd == nil {
		t.Error("q does not quit")
	}
}

func TestTopFitsIntoEveryScreen(t *testing.T) {
	m := screen()
	m.palette.colored = true
	for i := range 50 {
		m.Update(update{apps: []v1alpha1.HTTPApp{busy(fmt.Sprintf("an-app-with-a-long-name-%02d", i), int64(i), 0, 0, 1)}})
	}
	for _, open := range []string{"", "enter"} {
		if open != "" {
			m.Update(keyOf(open))
		}
		for _, size := range [][2]int{{200, 50}, {80, 24}, {40, 10}, {10, 3}, {1, 1}} {
			m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			lines := strings.Split(m.text(), "\n")
			if len(lines) > size[1] {
				t.Errorf("%d lines on a screen of %v", len(lines), size)
			}
			for _, line := range lines {
				if w := ansi.StringWidth(line); w > size[0] {
					t.Errorf("a line of %d on a screen of %v: %q", w, size, line)
				}
			}
		}
	}
}

func TestAChosenAppIsOnTheScreen(t *testing.T) {
	m := screen()
	for i := range 50 {
		m.Update(update{apps: []v1alpha1.HTTPApp{busy(fmt.Sprintf("app-%02d", i), 0, 0, 0, 0)}})
	}
	for range 30 {
		m.Update(keyOf("down"))
	}
	if !strings.Contains(m.text(), "> "+m.chosen.Name) {
		t.Errorf("%s is not on the screen:\n%s", m.chosen.Name, m.text())
	}
}

func TestAReadingIsALine(t *testing.T) {
	app := busy("hello", 1, 2, 3, 4)
	if got, want := readingOf(&app, noon).line(palette{}), "12:00:00  shop/hello  serving  1 pending, 2 in flight, 3/s, 4/4 ready, 0 cold starts"; got != want {
		t.Errorf("it is %q, not %q", got, want)
	}
}
