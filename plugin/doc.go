// Package plugin holds the commands of kubectl http, one file each. They talk to Kubernetes APIs and to nothing else.
package plugin
