#!/usr/bin/env bash
# Installs Debian packages as root: `packages.sh deps` what the build needs, `packages.sh test` what the tests need besides.
# Nothing that is installed here is started: services of the packages are kept from starting while this runs.
set -euo pipefail
deps=(build-essential pkg-config libseccomp-dev ca-certificates busybox-static)
tests=(
  # Tools that make images, and a registry to keep them in: none of them ours.
  umoci skopeo buildah debootstrap docker-registry apache2-utils openssl zstd attr
  # The oracle of container set-up.
  runc
  # What the harness looks at the kernel with, and other clients of the API.
  iproute2 nftables util-linux procps e2fsprogs jq curl python3 python3-docker
  # A virtual machine whose only cgroups are those of version 2. Its kernel comes with guest.sh.
  qemu-system-x86 seabios cpio kmod binutils
)

case ${1:-} in
  deps) wanted=("${deps[@]}") ;;
  test)
    wanted=("${tests[@]}")
    # The stock CLI: the one on PATH is used, whichever version it is.
    command -v docker >/dev/null || wanted+=(docker.io)
    ;;
  *) echo "usage: $0 deps|test" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || { echo "packages to install, as root: ${missing[*]}" >&2; exit 1; }

policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi
echo "installing ${missing[*]}"
apt-get update -qq
NEEDRESTART_SUSPEND=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
