#!/bin/sh
# Gets ONNX Runtime (its C header to build muster-infer, its library to run it) and prints the folder that has include/ and lib/.
#   packaging/onnxruntime.sh            fetches what is missing
#   packaging/onnxruntime.sh --where    only prints the folder
# Debian 13 has a package. Debian 12 has none: there the header comes out of Debian 13's package, whose signature apt checks, and the
# library out of the npm package onnxruntime-node, checked against the SHA-256 below. The C API is stable: a header works with any
# later library. Nothing of this is installed into the system except Debian 13's own package, and that only with root or sudo.
set -eu

version=1.21.0
cache="${XDG_CACHE_HOME:-$HOME/.cache}/muster"
home="$cache/onnxruntime-$version"

case "${1:-}" in
--where)
    echo "$home"
    exit 0
    ;;
"") ;;
*)
    echo "usage: onnxruntime.sh [--where]" >&2
    exit 2
    ;;
esac

fail() {
    echo "onnxruntime.sh: $1" >&2
    exit 1
}

ready() { [ -f "$home/include/onnxruntime_c_api.h" ] && [ -f "$home/lib/libonnxruntime.so.1" ]; }

if ready; then
    echo "$home"
    exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/onnxruntime.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir -p "$work/home/include" "$work/home/lib"

# The distribution's package, where it has one of this version or later and we may install it.
from_distribution() {
    candidate=$(apt-cache policy libonnxruntime-dev 2>/dev/null | sed -n 's/^ *Candidate: //p')
    case "$candidate" in "" | "(none)") return 1 ;; esac
    dpkg --compare-versions "$candidate" ge "$version" || return 1
    if ! dpkg-query -W -f '${db:Status-Abbrev}' libonnxruntime-dev 2>/dev/null | grep -q '^ii'; then
        as_root=""
        if [ "$(id -u)" -ne 0 ]; then
            command -v sudo >/dev/null 2>&1 || return 1
            as_root="sudo"
        fi
        echo "installing: libonnxruntime-dev" >&2
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libonnxruntime-dev >/dev/null || return 1
    fi
    header=$(dpkg -L libonnxruntime-dev | grep '/onnxruntime_c_api\.h$')
    library=$(dpkg -L libonnxruntime-dev | grep '/libonnxruntime\.so$')
    [ -f "$header" ] && [ -f "$library" ] || return 1
    ln -s "$(dirname "$header")"/* "$work/home/include/"
    ln -s "$(readlink -f "$library")" "$work/home/lib/libonnxruntime.so.1"
}

# An apt of our own: this machine's Debian sources with Debian 13's name in them, and its own lists and cache.
debian_13_sources() {
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || fail "/etc/os-release names no Debian release"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$list" ] || continue
        grep -E "^deb[[:space:]].*[[:space:]]$codename([-[:space:]])" "$list" |
            sed -E "s/([[:space:]])$codename([-[:space:]])/\1trixie\2/" >>"$1/debian.list"
    done
    for list in /etc/apt/sources.list.d/*.sources; do
        [ -f "$list" ] || continue
        grep -v '^#' "$list" | awk -v RS= -v ORS='\n\n' "/(^|\n)Suites:[^\n]*$codename/" |
            sed -E "/^Suites:/s/([[:space:]])$codename/\1trixie/g; /^Types:/s/deb-src//" >>"$1/debian.sources"
    done
}

header_from_debian_13() {
    apt="$work/apt"
    mkdir -p "$apt/sources" "$apt/state/lists/partial" "$apt/cache/archives/partial"
    debian_13_sources "$apt/sources"
    cat >"$apt/apt.conf" <<END
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$apt/sources";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$apt/state";
Dir::State::Status "/dev/null";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
    apt-get -c "$apt/apt.conf" update -qq >&2 || fail "apt could not read Debian 13's package lists; is the network there?"
    (cd "$apt" && apt-get -c "$apt/apt.conf" download -qq libonnxruntime-dev >&2) || fail "apt could not download libonnxruntime-dev"
    dpkg-deb -x "$apt"/libonnxruntime-dev_*.deb "$apt/root"
    header=$(find "$apt/root" -name onnxruntime_c_api.h)
    [ -f "$header" ] || fail "libonnxruntime-dev has no onnxruntime_c_api.h"
    cp "$header" "$work/home/include/"
}

library_from_npm() {
    case "$(uname -m)" in
    x86_64)
        arch=x64
        sha256=05bfddeefc536a44478c20226218dae8853995518bb2a994b4fa15a996f5f412
        ;;
    aarch64)
        arch=arm64
        sha256=36671b53885a8433882c4db360138bd060f3580f7d7cb6578050e755e83b6128
        ;;
    *) fail "no ONNX Runtime library is known for $(uname -m); put one into $home/lib as libonnxruntime.so.1" ;;
    esac
    command -v npm >/dev/null 2>&1 || fail "npm is needed to get the library; install it with packaging/deps.sh web"
    (cd "$work" && npm pack --silent --cache "$work/npm" "onnxruntime-node@$version" >/dev/null) ||
        fail "npm could not get onnxruntime-node@$version; is the network there?"
    tar -xzf "$work/onnxruntime-node-$version.tgz" -C "$work" --wildcards "package/bin/*/linux/$arch/libonnxruntime.so.1"
    library=$(find "$work/package" -name libonnxruntime.so.1)
    echo "$sha256  $library" | sha256sum --check --status || fail "libonnxruntime.so.1 of onnxruntime-node@$version has a wrong SHA-256"
    mv "$library" "$work/home/lib/"
}

if ! from_distribution; then
    echo "fetching ONNX Runtime $version (about 90 MB, once)" >&2
    header_from_debian_13
    library_from_npm
fi
chmod -R go+rX "$work/home"
# Another run may have finished first; what is half there goes.
ready || { rm -rf "$home" && mv -T "$work/home" "$home"; } || ready || fail "cannot write $home"
echo "$home"
