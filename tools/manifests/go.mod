// What tests/knative reads and nobody builds: Istio's resource definitions, as YAML, and the schema of skaffold.yaml.
// `go mod tidy` would drop both, since no Go file imports them.
module kn-ts/tools/manifests

go 1.25.0

require (
	github.com/GoogleContainerTools/skaffold/v2 v2.16.1
	istio.io/api v1.31.4
)
