#!/usr/bin/env bash
# Adds the tag "debian" to the layout of DIR: a debootstrap tree and four layers over it, each with something that unpackers get wrong.
# usage: debian-layers.sh DIR   (called by images.sh)
set -euo pipefail
work=$1
image=$work/layout:debian
root=$work/bundle/rootfs
cached=/var/cache/sheave-tests/debootstrap.tar
suite=$(. /etc/os-release; echo "$VERSION_CODENAME")

layer() { # COMMENT: what was changed in the root becomes a layer
  umoci repack --refresh-bundle --history.comment "$1" --image "$image" "$work/bundle"
}
umoci new --image "$image"
umoci unpack --image "$image" "$work/bundle"

mkdir -p "$(dirname "$cached")"
if [ ! -e "$cached" ]; then
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -v '^#' | grep -oE '[a-z+]+://[^ ]+/debian/?$' | head -1 || true)
  [ -n "$mirror" ] || mirror=$(grep -hE '^deb ' /etc/apt/sources.list | grep -oE '[a-z+]+://[^ ]+' | head -1)
  # shellcheck disable=SC2086 # no mirror is no argument: debootstrap's own default
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/debian" $mirror >"$work/debootstrap.log" 2>&1 \
    || { tail -20 "$work/debootstrap.log" >&2; exit 1; }
  rm -rf "$work/debian/var/cache/apt/archives"/*.deb "$work/debian/var/lib/apt/lists"/* "$work/debian/etc/apt/sources.list"
  tar -C "$work/debian" --numeric-owner --xattrs --xattrs-include='*' -cf "$cached.new" .
  rm -rf "$work/debian"
  mv "$cached.new" "$cached"
fi
tar -C "$root" --numeric-owner --xattrs --xattrs-include='*' -xf "$cached"
layer "debootstrap minbase"

# A removed file, a removed directory, a file that becomes a directory and the other way round.
# (An empty one: for what was in it umoci writes whiteouts below the new file, which Docker refuses.)
mkdir -p "$root/srv/probe/dir" "$root/srv/probe/swap-dir"
echo one >"$root/srv/probe/kept"; echo two >"$root/srv/probe/removed"; echo inner >"$root/srv/probe/dir/inner"
echo file >"$root/srv/probe/swap-file"
mkdir -p "$root/srv/opaque"; echo old >"$root/srv/opaque/old"
ln "$root/srv/probe/kept" "$root/srv/probe/hard-link"
layer "files to be changed"

rm -rf "$root/srv/probe/removed" "$root/srv/probe/dir" "$root/srv/probe/swap-file" "$root/srv/probe/swap-dir"
mkdir "$root/srv/probe/swap-file"; echo now >"$root/srv/probe/swap-file/now-a-dir"; echo now-a-file >"$root/srv/probe/swap-dir"
# A hard link to a file of a lower layer, a device, a fifo, extended attributes, a sparse file, a long and a non-ASCII name.
ln "$root/srv/probe/kept" "$root/srv/probe/late-link"
mknod "$root/srv/probe/null" c 1 3; mkfifo "$root/srv/probe/fifo"
echo capable >"$root/srv/probe/capable"; setcap cap_net_raw+ep "$root/srv/probe/capable"
setfattr -n user.sheave -v yes "$root/srv/probe/kept"
truncate -s 16M "$root/srv/probe/sparse"
long=$(printf 'n%.0s' $(seq 200)); mkdir -p "$root/srv/probe/$long"; echo deep >"$root/srv/probe/$long/$long"
echo name >"$root/srv/probe/ünï-☃"
chown 1234:4321 "$root/srv/probe/swap-dir"; chmod 4755 "$root/srv/probe/swap-dir"
touch -d '2001-02-03 04:05:06Z' "$root/srv/probe/swap-dir"
layer "whiteouts, links, devices, attributes, names"
rm -rf "$work/bundle"

# A directory that hides what lower layers have in it.
mkdir "$work/opaque"; echo new >"$work/opaque/new"
umoci insert --image "$image" --opaque "$work/opaque" /srv/opaque

# Bulk, so that parallel and resumed downloads have something to work on.
mkdir "$work/bulk"
for i in $(seq 8); do openssl enc -aes-128-ctr -nosalt -pass "pass:bulk$i" -in /dev/zero 2>/dev/null | head -c 2M >"$work/bulk/$i" || true; done
umoci insert --image "$image" "$work/bulk" /srv/bulk
umoci config --image "$image" --config.cmd bash --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --config.workingdir /srv
