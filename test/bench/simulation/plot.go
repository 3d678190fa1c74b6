package main

import (
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

var colors = []color.Color{color.RGBA{R: 0x1f, G: 0x5f, B: 0xbf, A: 0xff}, color.RGBA{R: 0xe0, G: 0x8a, B: 0x00, A: 0xff}, color.RGBA{R: 0xb0, G: 0x20, B: 0x50, A: 0xff}}

// picture draws the replicas over time, each contender's above what the requests called for, and the requests that waited.
func picture(path string, all ...contender) error {
	rows := make([][]*plot.Plot, 0, len(all)+1)
	for i, c := range all {
		p := axes(c.name + ": replicas")
		called := line(len(c.demand), func(s int) float64 { return c.demand[s] / target })
		area, err := plotter.NewPolygon(append(called, plotter.XY{X: called[len(called)-1].X}, plotter.XY{}))
		if err != nil {
			return err
		}
		area.Color, area.Width = color.Gray{Y: 0xd0}, 0
		l, err := lineOf(colors[i], line(len(c.replicas), func(s int) float64 { return float64(c.replicas[s]) }))
		if err != nil {
			return err
		}
		p.Add(area, l)
		p.Legend.Add("called for", area)
		p.Legend.Add("replicas", l)
		p.Y.Max = most
		rows = append(rows, []*plot.Plot{p})
	}
	p := axes("requests that wait")
	for i, c := range all {
		l, err := lineOf(colors[i], line(len(c.waits), func(s int) float64 { return float64(c.waits[s]) }))
		if err != nil {
			return err
		}
		p.Add(l)
		p.Legend.Add(c.name, l)
	}
	p.X.Label.Text = "minutes"
	rows = append(rows, []*plot.Plot{p})

	image := vgimg.NewWith(vgimg.UseWH(28*vg.Centimeter, 28*vg.Centimeter), vgimg.UseDPI(110))
	canvases := plot.Align(rows, draw.Tiles{Rows: len(rows), Cols: 1, PadY: vg.Millimeter * 3, PadTop: vg.Millimeter * 2, PadBottom: vg.Millimeter * 2, PadLeft: vg.Millimeter * 2, PadRight: vg.Millimeter * 4}, draw.New(image))
	for i := range rows {
		rows[i][0].Draw(canvases[i][0])
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := (vgimg.PngCanvas{Canvas: image}).WriteTo(file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

func axes(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.X.Min, p.X.Max, p.Y.Min = 0, length.Minutes(), 0
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	return p
}

// line has a point for each second.
func line(seconds int, of func(second int) float64) plotter.XYs {
	points := make(plotter.XYs, seconds)
	for s := range points {
		points[s] = plotter.XY{X: float64(s+1) / 60, Y: of(s)}
	}
	return points
}

func lineOf(c color.Color, points plotter.XYs) (*plotter.Line, error) {
	l, err := plotter.NewLine(points)
	if err == nil {
		l.Color, l.Width = c, vg.Points(1)
	}
	return l, err
}
