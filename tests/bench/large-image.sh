#!/usr/bin/env bash
# Adds the image test/large to the registry storage of the tests: six layers, over 150 MB compressed; usage: large-image.sh IMAGES
# The content is this machine's own libraries and documentation: it compresses as an image does.
set -euo pipefail
images=$1
[ ! -e "$images/registry/docker/registry/v2/repositories/test/large/_manifests/tags/latest" ] || exit 0
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d /var/tmp/sheave-large.XXXXXX)
registry=
trap '[ -z "$registry" ] || kill "$registry"; rm -rf "$work"' EXIT
umoci init --layout "$work/layout"
umoci new --image "$work/layout:large"
n=0
for share in /usr/lib/x86_64-linux-gnu /usr/share /usr/lib/python3 /usr/bin /usr/include /usr/sbin; do
  n=$((n + 1))
  mkdir -p "$work/part"
  find "$share" -xdev -type f -size -8M 2>/dev/null | sort | head -c 4000000 | awk -v limit=120000000 '{ "stat -c %s \"" $0 "\"" | getline size; sum += size; if (sum > limit) exit; print }' |
    cpio -pdm --quiet "$work/part" 2>/dev/null || true
  umoci insert --image "$work/layout:large" "$work/part" "/part$n"
  rm -rf "$work/part"
done
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $images/registry}}
http: {addr: "127.0.0.1:$port"}
YML
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$port/v2/" >/dev/null && break; sleep 0.1; done
skopeo copy -q --insecure-policy --dest-tls-verify=false --format v2s2 "oci:$work/layout:large" "docker://127.0.0.1:$port/test/large:latest"
du -sh "$work/layout" >&2
