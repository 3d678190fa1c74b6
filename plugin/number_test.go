package plugin

import (
	"testing"
	"time"

	apiresource "k8s.io/apimachinery/pkg/api/resource"
)

func TestNumbersHaveAsManyDigitsAsPeopleCareFor(t *testing.T) {
	for quantity, want := range map[string]string{"0": "0", "20m": "0.02", "900m": "0.9", "2500m": "2.5", "7": "7", "17400m": "17.4", "99960m": "100", "1234567m": "1235"} {
		if got := number(valueOf(apiresource.MustParse(quantity))); got != want {
			t.Errorf("%s is %s, not %s", quantity, got, want)
		}
	}
}

func TestDurationsEndWhereTheyHaveNothingMore(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 50 * time.Millisecond: "50ms", 90 * time.Second: "1m30s", 2 * time.Minute: "2m", 10 * time.Minute: "10m",
		time.Hour: "1h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", 20 * time.Second: "20s",
	} {
		if got := brief(d); got != want {
			t.Errorf("%v is %s, not %s", d, got, want)
		}
	}
}
