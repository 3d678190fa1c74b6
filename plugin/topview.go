package plugin

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// View implements tea.Model.
func (m *topModel) View() tea.View {
	view := tea.NewView(m.text())
	view.AltScreen = true
	return view
}

// room is how many apps the screen has lines for.
func (m *topModel) room() int { return max(1, m.height-4) }

// text is the screen, no line of it wider and no more lines than it has room for.
func (m *topModel) text() string {
	var lines []string
	if row := m.rows[m.opened]; row != nil {
		lines = m.page(row)
	} else {
		lines = m.list()
	}
	if len(lines) > m.height {
		// The keys stay.
		lines = append(lines[:max(0, m.height-1)], lines[len(lines)-1])
	}
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, m.width, "…")
	}
	return strings.Join(lines, "\n")
}

func (m *topModel) list() []string {
	rows := m.visible()
	var pending, inFlight int64
	var rate float64
	for _, row := range rows {
		pending, inFlight, rate = pending+row.now.Pending, inFlight+row.now.InFlight, rate+row.now.RequestRate
	}
	lines := []string{m.bold(fmt.Sprintf("%s of %s: %d pending, %d in flight, %s/s", howMany(len(rows), "app", "apps"), m.scope, pending, inFlight, number(rate)))}
	names := len("APP")
	for _, row := range rows {
		names = max(names, len(m.label(row)))
	}
	names = min(names, max(12, m.width/3))
	// What is left of the line after the columns is for the past.
	past := min(remembered, max(0, m.width-names-57))
	lines = append(lines, m.dim(fmt.Sprintf("  %-*s  %-8s %7s %9s %7s  %-*s  %7s %6s", names, "APP", "STATE", "PENDING", "IN-FLIGHT", "REQ/S", past, "", "READY", "COLD")))

	at := max(0, slices.IndexFunc(rows, func(r *topRow) bool { return nameOf(r) == m.chosen }))
	from := max(0, min(at-m.room()/2, len(rows)-m.room()))
	for i := from; i < len(rows) && i < from+m.room(); i++ {
		row := rows[i]
		marker := "  "
		if nameOf(row) == m.chosen {
			marker = "> "
		}
		lines = append(lines, fmt.Sprintf("%s%-*s  %s %7d %9d %7s  %s  %7s %6d", marker, names, ansi.Truncate(m.label(row), names, "…"),
			m.state(row.now.State, fmt.Sprintf("%-8s", row.now.State)), row.now.Pending, row.now.InFlight, number(row.now.RequestRate), sparkline(row.history, past, requests),
			fmt.Sprintf("%d/%d", row.now.ReadyReplicas, row.now.Replicas), row.now.ColdStarts))
	}
	if len(rows) == 0 {
		lines = append(lines, "  no app")
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	keys := "q quit  ↑↓ choose  enter open  / filter  s sort by " + m.sorted + "  S turn around"
	if m.filtering || m.filter != "" {
		keys = "filter: " + m.filter
		if m.filtering {
			keys += "▏ enter keeps it, esc clears it"
		}
	}
	return append(lines, m.dim(keys))
}

func (m *topModel) label(row *topRow) string {
	if strings.HasPrefix(m.scope, "namespace ") {
		return row.now.Name
	}
	return row.now.Namespace + "/" + row.now.Name
}

// page is one app: its past, and what status says of it.
func (m *topModel) page(row *topRow) []string {
	var text bytes.Buffer
	if err := describe(&text, &row.app, nil, nil, m.now(), m.palette); err != nil {
		text.WriteString(err.Error())
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	past := min(remembered, max(10, m.width-24))
	lines = append(lines, "")
	for _, p := range []struct {
		name string
		of   func(reading) float64
	}{{"pending", func(r reading) float64 { return float64(r.Pending) }}, {"in flight", func(r reading) float64 { return float64(r.InFlight) }},
		{"requests/s", requests}, {"replicas", func(r reading) float64 { return float64(r.ReadyReplicas) }}} {
		lines = append(lines, fmt.Sprintf("%-11s %s %8s", p.name, sparkline(row.history, past, p.of), number(p.of(row.now))))
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	return append(lines, m.dim("q quit  esc back"))
}

func requests(r reading) float64 { return r.RequestRate }

// sparks are the heights of a line of the past.
var sparks = []rune(" ▁▂▃▄▅▆▇█")

// sparkline draws the last readings, the newest on the right, relative to the highest of them. What is more than nothing is seen.
func sparkline(history []reading, width int, of func(reading) float64) string {
	if width <= 0 {
		return ""
	}
	if len(history) > width {
		history = history[len(history)-width:]
	}
	highest := 0.0
	for _, r := range history {
		highest = max(highest, of(r))
	}
	var line strings.Builder
	line.WriteString(strings.Repeat(" ", width-len(history)))
	for _, r := range history {
		level := 0
		if v := of(r); v > 0 {
			level = max(1, int(v/highest*float64(len(sparks)-1)+0.5))
		}
		line.WriteRune(sparks[level])
	}
	return line.String()
}
