package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThePageIsWhatTheProgramsDefine(t *testing.T) {
	var page bytes.Buffer
	require.NoError(t, write(&page))
	written, err := os.ReadFile("../flags.md")
	require.NoError(t, err)
	require.Equal(t, page.String(), string(written), "make generate")
}
