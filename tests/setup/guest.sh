#!/usr/bin/env bash
# Makes what a virtual machine of the tests boots, once; usage: guest.sh DIR. All below DIR:
#   vmlinuz     Debian's kernel for virtual machines; its package is unpacked, not installed, so /boot stays as it is
#   base.cpio   an initramfs: static busybox, the kernel's modules that an engine needs, guest-init as /init,
#               and /layout, an OCI image layout with the test image "busybox"
# The programs of the engine and the script of a test are a second archive, which a test appends: see tests/src/guest.rs.
set -euo pipefail
dir=$1
here=$(cd "$(dirname "$0")" && pwd)
images=$(dirname "$dir")/images
stamp=$(cat "$0" "$here/guest-init" "$images/stamp" | sha256sum | cut -c1-16)
[ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$dir"
exec 9>"$dir/.lock"; flock 9
[ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
rm -f "$dir/stamp"

echo "guest: kernel" >&2
# Found in the package index that packages.sh refreshed when it installed qemu; without one it is fetched here.
kernel_package() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends:/ {print $2; exit}'; }
[ -n "$(kernel_package)" ] || apt-get update -qq
package=$(kernel_package)
mkdir "$work/package"
fetch() { (cd "$work/package" && apt-get -qq -o APT::Sandbox::User=root download "$package" >/dev/null); }
fetch || { apt-get update -qq; package=$(kernel_package); fetch; }
dpkg-deb -x "$work/package"/*.deb "$work/kernel"
release=$(basename "$work"/kernel/lib/modules/*)

echo "guest: initramfs" >&2
root=$work/root
mkdir -p "$root"/{bin,sbin,dev,etc,proc,sys,run,tmp,var/lib,mnt,root} "$root/lib/modules/$release"
cp /bin/busybox "$root/bin/busybox"
for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
cp "$here/guest-init" "$root/init"
chmod 755 "$root/init"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
# The modules that are loaded by name, and whatever they depend on; then the kernel finds them by itself through modprobe.
depmod -b "$work/kernel" "$release"
wanted=(overlay loop bridge br_netfilter veth nf_tables nft_chain_nat nft_nat nft_masq nft_redir nft_ct nft_compat nft_reject_inet
  nft_fib nft_fib_ipv4 nft_fib_ipv6 nft_fib_inet nft_log nft_limit nf_nat nf_conntrack nf_conntrack_netlink nfnetlink vxlan dummy ipvlan macvlan)
for module in "${wanted[@]}"; do
  for file in $(modprobe -d "$work/kernel" -S "$release" --show-depends "$module" | awk '$1 == "insmod" {print $2}'); do
    name=${file#"$work/kernel/"}
    mkdir -p "$root/$(dirname "$name")"
    cp -n "$file" "$root/$name"
  done
done
cp "$work/kernel/lib/modules/$release/modules".{order,builtin,builtin.modinfo} "$root/lib/modules/$release/"
depmod -b "$root" "$release"
skopeo copy -q --insecure-policy "oci:$images/layout:busybox" "oci:$root/layout:busybox"

(cd "$root" && find . -print0 | cpio --quiet --null -H newc -R 0:0 -o) >"$work/base.cpio"
cp "$work/kernel/boot/vmlinuz-$release" "$work/vmlinuz"
mv "$work/base.cpio" "$work/vmlinuz" "$dir/"
echo "$stamp" >"$dir/stamp"
