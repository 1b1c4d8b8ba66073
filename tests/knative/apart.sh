#!/usr/bin/env bash
# Runs a command in a network of its own, as tests/knative wants it: Knative's programs bind fixed ports, and find each
# other by names in /etc/hosts. All of it, processes too, is gone when the command ends or this script is killed.
#   tests/knative/apart.sh .venv/bin/python -m pytest tests/knative
set -euo pipefail

if [ "${KNTS_APART-}" = inside ]; then
  hosts=$(mktemp)
  cat /etc/hosts > "$hosts"
  mount --bind "$hosts" /etc/hosts && rm "$hosts"  # tests write here what a cluster's DNS would say
  mount -t tmpfs none /run  # ip netns keeps its names there
  ip link set lo up
  ip link add knative type bridge
  ip address add 10.90.0.1/24 dev knative
  ip link set knative up
  export KNTS_APART=ready
  status=0
  "$@" || status=$?  # not exec: as process 1 it would ignore SIGTERM
  exit "$status"
fi

[ "$(uname)" = Linux ] || { echo "tests/knative: needs Linux's network namespaces" >&2; exit 1; }
for program in ip unshare mount; do
  command -v "$program" >/dev/null || { echo "tests/knative: needs $program (iproute2, util-linux)" >&2; exit 1; }
done
root=()
[ "$(id -u)" = 0 ] || root=(--map-root-user)
apart=(unshare "${root[@]}" --net --mount --pid --fork --kill-child --mount-proc)
"${apart[@]}" ip link add knative type bridge || {
  echo "tests/knative: needs root, or a kernel that lets users make namespaces (sysctl kernel.unprivileged_userns_clone," \
    "kernel.apparmor_restrict_unprivileged_userns)" >&2
  exit 1
}
KNTS_APART=inside exec "${apart[@]}" "$0" "$@"
