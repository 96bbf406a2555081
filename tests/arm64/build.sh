#!/bin/sh
# Builds tests/arm64/rebuild.c with common/delta for arm64 and prints the program's path and the folder of its libraries.
#   tests/arm64/build.sh BUILD
# The libraries it needs come as arm64 packages of this machine's Debian into BUILD/arm64: an apt of our own gets them, whose
# signatures it checks, and nothing is installed. Exit status 77: something is missing here, with a line that says what.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p "$1/arm64"
work=$(cd "$1/arm64" && pwd)
root="$work/root"
compiler=aarch64-linux-gnu-gcc

skip() {
    echo "$1" >&2
    exit 77
}

command -v "$compiler" >/dev/null 2>&1 || skip "$compiler is missing; install gcc-aarch64-linux-gnu and libc6-dev-arm64-cross"
command -v qemu-aarch64 >/dev/null 2>&1 || skip "qemu-aarch64 is missing; install qemu-user"

fetch() {
    apt="$work/apt"
    rm -rf "$apt" "$root"
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$root.part"
    : >"$apt/status"
    cat >"$apt/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
Dir::State "$apt/state";
Dir::State::Status "$apt/status";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
    apt-get -c "$apt/apt.conf" update -qq >&2 || return 1
    ssl=libssl3
    apt-cache -c "$apt/apt.conf" show libssl3t64 >/dev/null 2>&1 && ssl=libssl3t64
    (cd "$apt" && apt-get -c "$apt/apt.conf" download -qq libzstd1 libzstd-dev libdivsufsort3 libdivsufsort-dev libjansson4 libjansson-dev "$ssl" libssl-dev zlib1g >&2) || return 1
    for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$root.part"; done
    mv "$root.part" "$root"
}

[ -d "$root" ] || fetch || skip "apt could not get Debian's arm64 packages; is the network there?"

# shellcheck disable=SC2046 # a list of files
"$compiler" -std=gnu2x -D_GNU_SOURCE -O2 -ffp-contract=off -pthread -I. -isystem "$root/usr/include" \
    -isystem "$root/usr/include/aarch64-linux-gnu" -ffunction-sections -Wl,--gc-sections -o "$work/rebuild" \
    tests/arm64/rebuild.c $(ls common/delta/*.c) common/base/buf.c common/base/clock.c common/base/crypt.c common/base/err.c \
    common/base/file.c common/base/json.c common/base/text.c -L"$root/usr/lib/aarch64-linux-gnu" -L"$root/lib/aarch64-linux-gnu" -ljansson -lzstd -ldivsufsort -lcrypto -lm >&2
echo "$work/rebuild $root"
