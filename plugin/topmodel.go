package plugin

import (
	"cmp"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// remembered is how many seconds of an app's past are drawn.
const remembered = 120

// topRow is an app and its last minutes, a reading for each second.
type topRow struct {
	app     v1alpha1.HTTPApp
	now     reading
	history []reading
}

// topModel is what top shows, and what its keys change.
type topModel struct {
	palette
	scope string
	now   func() time.Time

	rows   map[types.NamespacedName]*topRow
	sorted string // one of orders
	// ascending turns the order around.
	ascending bool
	filter    string
	filtering bool
	chosen    types.NamespacedName
	opened    types.NamespacedName // no name: the list is shown
	width     int
	height    int
}

// orders are what apps can be sorted by.
var orders = []string{"queue", "requests", "replicas", "cold starts", "name"}

func newTopModel(scope string, colors palette, now func() time.Time) *topModel {
	return &topModel{palette: colors, scope: scope, now: now, rows: map[types.NamespacedName]*topRow{}, sorted: orders[0], width: 80, height: 24}
}

// second is the message that a second is over.
type second struct{}

func everySecond() tea.Cmd { return tea.Tick(time.Second, func(time.Time) tea.Msg { return second{} }) }

// Init implements tea.Model.
func (m *topModel) Init() tea.Cmd { return everySecond() }

// Update implements tea.Model.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case update:
		m.take(msg)
	case second:
		for _, row := range m.rows {
			row.history = append(row.history, row.now)
			if len(row.history) > remembered {
				row.history = slices.Delete(row.history, 0, len(row.history)-remembered)
			}
		}
		return m, everySecond()
	case tea.KeyPressMsg:
		return m, m.press(msg)
	}
	return m, nil
}

func (m *topModel) take(u update) {
	for i := range u.apps {
		app := u.apps[i]
		key := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
		row := m.rows[key]
		if row == nil {
			row = &topRow{}
			m.rows[key] = row
		}
		row.app, row.now = app, readingOf(&app, m.now())
	}
	for _, key := range u.gone {
		delete(m.rows, key)
		if m.opened == key {
			m.opened = types.NamespacedName{}
		}
	}
}

func (m *topModel) press(key tea.KeyPressMsg) tea.Cmd {
	if m.filtering {
		switch key.String() {
		case "enter":
			m.filtering = false
		case "esc":
			m.filtering, m.filter = false, ""
		case "ctrl+c":
			return tea.Quit
		case "backspace":
			if runes := []rune(m.filter); len(runes) > 0 {
				m.filter = string(runes[:len(runes)-1])
			}
		default:
			m.filter += key.Text
		}
		return nil
	}
	visible := m.visible()
	at := slices.IndexFunc(visible, func(r *topRow) bool { return nameOf(r) == m.chosen })
	move := func(to int) {
		if len(visible) > 0 {
			m.chosen = nameOf(visible[min(max(to, 0), len(visible)-1)])
		}
	}
	switch key.String() {
	case "q", "ctrl+c":
		return tea.Quit
	case "esc", "left", "h":
		m.opened = types.NamespacedName{}
	case "up", "k":
		move(at - 1)
	case "down", "j":
		move(at + 1)
	case "pgup":
		move(at - m.room())
	case "pgdown":
		move(at + m.room())
	case "home", "g":
		move(0)
	case "end", "G":
		move(len(visible) - 1)
	case "enter", "right", "l":
		if at >= 0 {
			m.opened = m.chosen
		} else if len(visible) > 0 {
			m.chosen = nameOf(visible[0])
			m.opened = m.chosen
		}
	case "s":
		m.sorted = orders[(slices.Index(orders, m.sorted)+1)%len(orders)]
	case "S":
		m.ascending = !m.ascending
	case "/":
		m.filtering, m.opened = true, types.NamespacedName{}
	}
	return nil
}

func nameOf(r *topRow) types.NamespacedName {
	return types.NamespacedName{Namespace: r.now.Namespace, Name: r.now.Name}
}

// visible are the apps that the filter leaves, in order.
func (m *topModel) visible() []*topRow {
	var rows []*topRow
	for key, row := range m.rows {
		if m.filter == "" || strings.Contains(key.String(), m.filter) || strings.Contains(string(row.now.State), m.filter) {
			rows = append(rows, row)
		}
	}
	byName := func(a, b *topRow) int {
		return cmp.Or(cmp.Compare(a.now.Namespace, b.now.Namespace), cmp.Compare(a.now.Name, b.now.Name))
	}
	slices.SortFunc(rows, func(a, b *topRow) int {
		order := 0
		switch m.sorted {
		case "queue":
			order = cmp.Or(cmp.Compare(b.now.Pending, a.now.Pending), cmp.Compare(b.now.InFlight, a.now.InFlight), cmp.Compare(b.now.RequestRate, a.now.RequestRate))
		case "requests":
			order = cmp.Compare(b.now.RequestRate, a.now.RequestRate)
		case "replicas":
			order = cmp.Compare(b.now.Replicas, a.now.Replicas)
		case "cold starts":
			order = cmp.Compare(b.now.ColdStarts, a.now.ColdStarts)
		default:
			order = byName(a, b)
		}
		if m.ascending {
			order = -order
		}
		return cmp.Or(order, byName(a, b))
	})
	return rows
}
