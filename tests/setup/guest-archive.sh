#!/usr/bin/env bash
# The whole initramfs of one boot; usage: guest-archive.sh GUEST-DIR OUTPUT SCRIPT PROGRAM...
# Behind the base that guest.sh made: SCRIPT as /test, each PROGRAM below /usr/local/bin with the libraries that it loads.
set -euo pipefail
base=$1/base.cpio output=$2 script=$3
shift 3
root=$output.root
rm -rf "$root"
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/local/bin"
cp "$script" "$root/test"
for program in "$@"; do
  # What a debugger wants is half of a program, and the guest's memory would hold it.
  strip -o "$root/usr/local/bin/$(basename "$program")" "$program"
  for library in $(ldd "$program" | grep -oE '/[^ ]+'); do
    mkdir -p "$root/$(dirname "$library")"
    cp -nL "$library" "$root/$library"
  done
done
cp "$base" "$output"
(cd "$root" && find . -print0 | cpio --quiet --null -H newc -R 0:0 -o) >>"$output"
