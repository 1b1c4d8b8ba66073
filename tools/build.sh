#!/usr/bin/env bash
# Builds the programs of tools/*/go.mod once, into a folder named after the modules' locks, and prints that folder last.
# `tools/build.sh --cached` builds nothing: it prints the folder where it is whole, and fails where it is not.
set -euo pipefail
cd "$(dirname "$0")"

digest=$(cat */go.mod */go.sum build.sh | sha256sum | cut -c1-16)
folder=${KNTS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/kn-ts/tools}/$digest
[ -e "$folder/done" ] && { echo "$folder"; exit; }
[ "${1-}" = --cached ] && { echo "tools: not built yet ($folder)" >&2; exit 1; }
command -v go >/dev/null || { echo "tools: Go is needed to build Knative, the Kubernetes API server and Ollama: https://go.dev/doc/install" >&2; exit 1; }
command -v cc >/dev/null || { echo "tools: a C compiler is needed to build Ollama (Debian: apt-get install gcc g++)" >&2; exit 1; }

mkdir -p "$folder"
# A program's name here and the package it is built from: Knative calls three of its programs by the same name.
build() {
  [ -x "$folder/$2" ] && return
  echo "tools: building $2 ($(date +%H:%M:%S))" >&2
  (cd "$1" && go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$folder/$2.part" "$3") && mv "$folder/$2.part" "$folder/$2"
}
build kubernetes etcd go.etcd.io/etcd/server/v3
build kubernetes kubectl k8s.io/kubernetes/cmd/kubectl
build kubernetes kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
for name in webhook controller mtchannel_broker; do
  build knative "eventing-$name" "knative.dev/eventing/cmd/$name"
done
for name in broker/ingress broker/filter in_memory/channel_controller in_memory/channel_dispatcher; do
  build knative "eventing-$(basename "$name")" "knative.dev/eventing/cmd/$name"
done
build knative serving-webhook knative.dev/serving/cmd/webhook
build ollama ollama github.com/ollama/ollama
touch "$folder/done"
echo "$folder"
