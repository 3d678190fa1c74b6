//go:build race

package queue

// raceDetector slows everything down, and takes memory.
const raceDetector = true
