#!/usr/bin/env bash
# Makes the images of the tests with tools that are not ours, once; usage: images.sh DIR
# A finished set is kept with a stamp of this script, so a change here makes it anew. What is made, all below DIR:
#   layout/     OCI image layout made by umoci, tags: busybox, debian (5 gzip layers), hostile-*
#   zstd/       the debian image with zstd layers, by skopeo
#   registry/   the storage of a docker-registry with test/busybox, test/debian, test/zstd, test/multi, test/schema2
#   auth/       htpasswd of alice:wonderland; a key and certificate with which a token server signs
set -euo pipefail
dir=$1
here=$(cd "$(dirname "$0")" && pwd)
stamp=$(cat "$0" "$here/debian-layers.sh" | sha256sum | cut -c1-16)
[ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$dir"
exec 9>"$dir/.lock"; flock 9
[ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

work=$(mktemp -d "$dir/work.XXXXXX")
registry_pid=
finish() {
  [ -z "$registry_pid" ] || kill "$registry_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
rm -rf "$dir/layout" "$dir/zstd" "$dir/registry" "$dir/auth" "$dir/stamp"

echo "images: busybox" >&2
umoci init --layout "$work/layout"
busybox_rootfs() { # DIR: a root file system of one static program
  mkdir -p "$1"/{bin,etc,root,tmp,var,usr/bin,home/app,proc,sys,dev}
  chmod 1777 "$1/tmp"
  cp /bin/busybox "$1/bin/busybox"
  for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"; done
  printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd"
  printf 'root:x:0:\napp:x:1000:\nextra:x:1001:app\nnogroup:x:65534:\n' >"$1/etc/group"
  chown 1000:1000 "$1/home/app"
}
umoci new --image "$work/layout:busybox"
umoci unpack --image "$work/layout:busybox" "$work/bundle"
busybox_rootfs "$work/bundle/rootfs"
umoci repack --image "$work/layout:busybox" "$work/bundle"
umoci config --image "$work/layout:busybox" --config.cmd sh --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  --config.label org.sheave.test=busybox
rm -rf "$work/bundle"

echo "images: debian" >&2
bash "$here/debian-layers.sh" "$work"

echo "images: registry" >&2
mkdir -p "$work/registry" "$work/auth"
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port"}
YML
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry_pid=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$port/v2/" >/dev/null && break; sleep 0.1; done
push() { skopeo copy -q --insecure-policy --dest-tls-verify=false "$@"; }
repo=docker://127.0.0.1:$port/test
push --format oci "oci:$work/layout:busybox" "$repo/busybox:latest"
push --format v2s2 "oci:$work/layout:busybox" "$repo/schema2:latest"
push --format oci "oci:$work/layout:debian" "$repo/debian:latest"
push --format oci --dest-compress-format zstd "oci:$work/layout:debian" "oci:$work/zstd:debian"
push --format oci "oci:$work/zstd:debian" "$repo/zstd:latest"

echo "images: an index of two platforms" >&2
umoci tag --image "$work/layout:busybox" busybox-arm64
umoci config --image "$work/layout:busybox-arm64" --architecture arm64 --config.label org.sheave.test=busybox-arm64
push --format oci "oci:$work/layout:busybox-arm64" "$repo/multi:arm64"
push --format oci "oci:$work/layout:busybox" "$repo/multi:amd64"
b() { buildah --root "$work/buildah" --runroot "$work/buildah-run" --storage-driver vfs "$@"; }
b manifest create multi >/dev/null
b manifest add --tls-verify=false --arch amd64 --os linux multi "$repo/multi:amd64" >/dev/null
b manifest add --tls-verify=false --arch arm64 --os linux multi "$repo/multi:arm64" >/dev/null
b manifest push --all --tls-verify=false multi "$repo/multi:latest" >/dev/null
kill "$registry_pid"; wait "$registry_pid" || true; registry_pid=

htpasswd -Bbn alice wonderland >"$work/auth/htpasswd"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/auth/token.key" -out "$work/auth/token.crt" -days 3650 \
  -subj /CN=sheave-test-tokens 2>/dev/null

umoci gc --layout "$work/layout"
mv "$work/layout" "$work/zstd" "$work/registry" "$work/auth" "$dir/"
echo "$stamp" >"$dir/stamp"
