package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStatIsReadBehindTheName(t *testing.T) {
	s, err := parseStat("4711 (a) b (c)) S 17 4711 4711 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 3 0 1 2 3")
	require.NoError(t, err)
	require.Equal(t, stat{pid: 4711, parent: 17, cpu: 3 * time.Second}, s)

	_, err = parseStat("4711 (a) S")
	require.Error(t, err)
}

func TestMedianIsTheMiddleOne(t *testing.T) {
	require.Equal(t, 2, median([]int{9, 1, 2}, func(n int) int { return n }))
}
