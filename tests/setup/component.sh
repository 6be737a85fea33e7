#!/usr/bin/env bash
# Builds a plugin crate of the workspace as a WASM component, with Debian's packages and the Rust toolchain at hand.
# usage: component.sh PACKAGE OUT.wasm   (PACKAGE as in storage-vfs); the tools are kept in $SHEAVE_TEST_CACHE/wasm
# A toolchain that has the wasm32-unknown-unknown target itself needs only the linker of step 2.
set -euo pipefail
cd "$(dirname "$0")/../.."
plugin=$1 out=$2
cache=${SHEAVE_TEST_CACHE:-/var/cache/sheave-tests}
tools=$cache/wasm
mkdir -p "$cache"; exec 9>"$cache/.wasm-lock"; flock 9

# 1. A compiler with the WASM targets and the sources of its std: unpacked, not installed, beside the Rust that is there.
if [ ! -e "$tools/complete" ]; then
  echo "component: tools" >&2
  rm -rf "$tools"; mkdir -p "$tools/debs"
  apt-get update -qq
  version=$(apt-cache madison rustc-web | awk '{print $3}' | sort -V | tail -1)
  [ -n "$version" ] || { echo 'Debian has no package rustc-web: are its security updates among the sources of apt?' >&2; exit 1; }
  std=libstd-rust-web-$(echo "$version" | cut -d. -f1,2)
  llvm=$(apt-cache show "$std=$version" | grep -oE 'libllvm[0-9]+' | sort -u | tail -1)
  (
    cd "$tools/debs"
    apt-get download -qq "rustc-web=$version" "libstd-rust-web-dev=$version" "rust-web-src=$version" "$std=$version" "$llvm"
    for package in *.deb; do dpkg -x "$package" "$tools"; done
  )
  rm -rf "$tools/debs"; touch "$tools/complete"
fi

# 2. The linker of the installed toolchain turns the core module into a component.
bin=$(env -u RUSTC rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin
[ -x "$bin/wasm-component-ld" ] || { echo "missing: $bin/wasm-component-ld (part of rustup's toolchains)" >&2; exit 1; }
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(echo "$tools"/usr/lib/x86_64-linux-gnu "$tools"/usr/lib/llvm-*/lib | tr ' ' :)
export RUSTC=$tools/usr/bin/rustc RUSTC_BOOTSTRAP=1 PATH=$bin/gcc-ld:$PATH
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$bin/wasm-component-ld
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/component
cargo rustc -q -p "sheave-$plugin" --lib --crate-type cdylib --profile plugin-wasm \
  -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown
made=$CARGO_TARGET_DIR/wasm32-unknown-unknown/plugin-wasm/sheave_${plugin//-/_}.wasm
mkdir -p "$(dirname "$out")"
cp "$made" "$out"
