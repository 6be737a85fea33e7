#!/usr/bin/env bash
# Fails, naming everything that is missing, where the machine lacks a tool or a kernel feature that the tests need.
# A test is never skipped for want of one.
set -uo pipefail
bad=0
say() { echo "missing: $*" >&2; bad=1; }

[ "$(id -u)" = 0 ] || say "root (the tests make namespaces, mounts, links and cgroups)"
case ${1:-tools} in
  rust) tools=(cargo rustc rustfmt cargo-clippy) ;;
  *) tools=(docker umoci skopeo buildah debootstrap docker-registry htpasswd openssl zstd setfattr runc busybox
       ip nft unshare nsenter script ps mkfs.ext4 losetup jq curl qemu-system-x86_64 cpio depmod strip) ;;
esac
for tool in "${tools[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || say "the program $tool"
done

if [ "${1:-tools}" != rust ]; then
  for ns in mnt net pid uts ipc cgroup user; do
    [ -e /proc/self/ns/$ns ] || say "$ns namespaces in the kernel"
  done
  major=$(uname -r | cut -d. -f1) minor=$(uname -r | cut -d. -f2)
  [ $((major * 100 + minor)) -ge 515 ] || say "Linux 5.15 or newer (this is $(uname -r))"
  # Modules are loaded on first use, so each feature is tried and not looked up.
  unshare --mount --net --pid --cgroup --fork true || say "the right to make namespaces"
  unshare --mount sh -ec 'd=$(mktemp -d); trap "rmdir $d" EXIT; mount -t tmpfs t "$d"; cd "$d"; mkdir l u w m
    mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m; umount m; cd /; umount "$d"' || say "overlayfs"
  unshare --net sh -ec 'ip link add b0 type bridge; ip link add v0 type veth peer name v1' || say "bridge or veth links"
  unshare --net nft 'add table inet t; add chain inet t c { type nat hook postrouting priority 100; }; add rule inet t c masquerade' \
    || say "nftables with nat"
  grep -q Seccomp: /proc/self/status || say "seccomp"
  { [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ]; } || say "cgroups with the memory controller below /sys/fs/cgroup"
  [ -e /dev/loop-control ] || say "loop devices"
  /usr/bin/python3 -c 'import docker' 2>/dev/null || say "the Python module docker for /usr/bin/python3"
fi
exit $bad
