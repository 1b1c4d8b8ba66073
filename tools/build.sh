#!/usr/bin/env bash
# Builds the programs of tools/*/go.mod once, into a folder named after the modules' locks, and prints that folder last.
#   tools/build.sh knative            etcd, the API server, kubectl, Knative's programs
#   tools/build.sh ollama             Ollama
#   tools/build.sh knative --cached   builds nothing: prints the folder where it is whole, and fails where it is not
set -euo pipefail
cd "$(dirname "$0")"

case "${1-}" in
  knative) locks=({kubernetes,knative,manifests}/go.{mod,sum}) ;;
  ollama) locks=(ollama/go.mod ollama/go.sum) ;;
  *) echo "tools/build.sh: name what to build: knative or ollama" >&2 && exit 2 ;;
esac
digest=$(cat build.sh "${locks[@]}" | sha256sum | cut -c1-16)
folder=${KNTS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/kn-ts/tools}/$1-$digest
[ -e "$folder/done" ] && echo "$folder" && exit
[ "${2-}" = --cached ] && echo "tools: $1 is not built yet ($folder)" >&2 && exit 1
command -v go >/dev/null || { echo "tools: Go is needed to build $1: https://go.dev/doc/install" >&2; exit 1; }

mkdir -p "$folder"
build() {  # module, name here, package: Knative calls three of its programs alike
  [ -x "$folder/$2" ] && return
  echo "tools: building $2 ($(date +%H:%M:%S))" >&2
  (cd "$1" && go build -trimpath -buildvcs=false -ldflags="-s -w ${stamp-}" -o "$folder/$2.part" "$3") && mv "$folder/$2.part" "$folder/$2"
}
keep() {  # module, package, path in it: what tests read, so that they need neither Go nor its cache
  (cd "$1" && go mod download "$2")
  mkdir -p "$folder/manifests/$2/$(dirname "$3")"
  cp -r --no-preserve=mode "$(cd "$1" && go list -m -f '{{.Dir}}' "$2")/$3" "$folder/manifests/$2/$(dirname "$3")"
}
if [ "$1" = knative ]; then
  build kubernetes etcd go.etcd.io/etcd/server/v3
  build kubernetes kubectl k8s.io/kubernetes/cmd/kubectl
  build kubernetes kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
  for name in webhook controller mtchannel_broker broker/ingress broker/filter in_memory/channel_controller in_memory/channel_dispatcher; do
    build knative "eventing-${name##*/}" "knative.dev/eventing/cmd/$name"
  done
  build knative serving-webhook knative.dev/serving/cmd/webhook
  keep knative knative.dev/eventing config
  keep knative knative.dev/serving config
  keep manifests istio.io/api kubernetes/customresourcedefinitions.gen.yaml
  keep manifests github.com/GoogleContainerTools/skaffold/v2 docs-v2/content/en/schemas
else
  # Go's module archives leave out folders named `vendor`, and with them three header-only libraries of llama.cpp's
  printf '#include <nlohmann/json.hpp>\n#include <stb/stb_image.h>\n' | g++ -E -x c++ - >/dev/null 2>&1 ||
    { echo "tools: to build Ollama: apt install g++ nlohmann-json3-dev libstb-dev" >&2; exit 1; }
  headers=$folder/headers
  mkdir -p "$headers/miniaudio"
  cp "$(cd ollama && go list -m -f '{{.Dir}}' github.com/gen2brain/malgo)/miniaudio.h" "$headers/miniaudio/"
  export CGO_CPPFLAGS="-I$headers" CGO_CFLAGS="-O3" CGO_CXXFLAGS="-O3"
  # By default for any x86_64, which is slow; the packaged model wants these too
  [ "$(uname -m)" != x86_64 ] || CGO_CFLAGS+=" -mavx2 -mfma -mf16c -mbmi2" CGO_CXXFLAGS+=" -mavx2 -mfma -mf16c -mbmi2"
  version=$(cd ollama && go list -m -f '{{.Version}}' github.com/ollama/ollama)
  stamp="-X github.com/ollama/ollama/version.Version=${version#v}"
  build ollama ollama github.com/ollama/ollama
fi
touch "$folder/done"
echo "$folder"
