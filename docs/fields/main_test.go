package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePageIsWhatTheTypesSay(t *testing.T) {
	var page bytes.Buffer
	require.NoError(t, write(&page))
	written, err := os.ReadFile("../httpapp.md")
	require.NoError(t, err)
	require.Equal(t, page.String(), string(written), "make generate")
}

func TestEveryFieldOfOursIsDescribed(t *testing.T) {
	var page bytes.Buffer
	require.NoError(t, write(&page))
	require.NotContains(t, page.String(), "|  |\n")
	for _, field := range []string{"`apiVersion`", "`hosts` *", "`lastColdStart`", "`maxPending`", "[Placeholder](#placeholder)", "list of [Route](#route)", "Kubernetes' `PodTemplateSpec`"} {
		require.Contains(t, page.String(), field)
	}
}
