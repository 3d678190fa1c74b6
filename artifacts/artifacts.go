// Package artifacts holds the manifests that kedahttp is installed by.
package artifacts

import "embed"

// Base is artifacts/base: everything that kedahttp needs in a cluster, for kustomize.
//
//go:embed base/*.yaml
var Base embed.FS
