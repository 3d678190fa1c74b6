package plugin

import (
	"strconv"
	"strings"
	"time"

	apiresource "k8s.io/apimachinery/pkg/api/resource"
)

// number is a rate or an average with as many digits as people care for: 0.02, 1.5, 17.4, 250.
func number(v float64) string {
	digits := 0
	switch {
	case v < 1:
		digits = 2
	case v < 100:
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// valueOf is a quantity as a number, exact to its thousandths.
func valueOf(q apiresource.Quantity) float64 { return float64(q.MilliValue()) / 1000 }

// brief is a duration without parts that are nothing: 2m, not 2m0s.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
