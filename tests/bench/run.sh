#!/usr/bin/env bash
# Builds the release engine and measures it beside Debian's dockerd and podman; usage: run.sh [bench arguments]
set -euo pipefail
cd "$(dirname "$0")/../.."
apt-get install -y -qq docker.io podman runc cpio umoci skopeo docker-registry curl >/dev/null
for program in dockerd podman docker-registry runc; do
  PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || { echo "missing: $program" >&2; exit 1; }
done
cargo build --release --workspace --bins
images=${SHEAVE_TEST_CACHE:-/var/cache/sheave-tests}/images
bash tests/bench/large-image.sh "$images"
exec target/release/bench "$@"
