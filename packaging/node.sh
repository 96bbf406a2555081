#!/bin/sh
# Prints the folder of a Node.js (20.19 or newer) with an npm (10 or newer) that can build the console. Debian's are older: then both
# come out of their npm packages, whose content npm checks against the registry's SHA-512, into a per-user cache.
set -eu

version=20.20.2

enough() {
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null &&
        [ "$(npm --version 2>/dev/null | cut -d. -f1)" -ge 10 ]
}

if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 && enough; then
    dirname "$(command -v node)"
    exit 0
fi
case "$(uname -m)" in
x86_64) arch=x64 ;;
aarch64) arch=arm64 ;;
*)
    echo "node.sh: no Node.js >= 20.19 here and none known for $(uname -m); install one and put it on PATH" >&2
    exit 1
    ;;
esac
cache="${XDG_CACHE_HOME:-$HOME/.cache}/muster"
home="$cache/node-$version-$arch"
if [ ! -x "$home/bin/node" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/node.XXXXXX")
    trap 'rm -rf "$work"' EXIT INT TERM
    (cd "$work" && npm pack --silent "node-linux-$arch@$version" >/dev/null && npm pack --silent npm@11.19.1 >/dev/null)
    mkdir "$work/home" "$work/npm"
    tar -xzf "$work"/node-linux-*.tgz -C "$work/home" --strip-components=1
    tar -xzf "$work"/npm-*.tgz -C "$work/npm" --strip-components=1
    mkdir -p "$work/home/lib/node_modules"
    mv "$work/npm" "$work/home/lib/node_modules/npm"
    ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$work/home/bin/npm"
    ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$work/home/bin/npx"
    rm -rf "$home"
    mv "$work/home" "$home"
fi
echo "$home/bin"
