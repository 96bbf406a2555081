#!/bin/sh
# Installs the Debian 12 or 13 packages that a job needs, and nothing that is there already.
#   packaging/deps.sh build|run|web|test|lint|fuzz|bench|arm64 ...
# As root, or as a user with sudo. Services that come with a package are neither started nor left enabled.
set -eu

build="gcc make pkg-config libc6-dev libmicrohttpd-dev libgnutls28-dev libmosquitto-dev libjansson-dev libpq-dev libssl-dev
       libarchive-dev libzstd-dev libdivsufsort-dev libargon2-dev libsqlite3-dev libcurl4-openssl-dev libinih-dev ca-certificates"
run="python3 postgresql mosquitto"
web="nodejs npm"
test="libcmocka-dev python3-pytest python3-yaml python3-jsonschema python3-psycopg2 python3-paho-mqtt python3-cryptography
      minisign strace e2fsprogs mosquitto-dev mosquitto-clients chromium fonts-dejavu-core"
fuzz="clang libclang-rt-dev llvm"
lint="clang-format clang-tidy clang cppcheck shellcheck mandoc python3-pyflakes"
bench="python3 python3-numpy libopenblas0-pthread bsdiff xdelta3 zstd openssl"
arm64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

wanted=""
for group in "$@"; do
    case "$group" in
    build) wanted="$wanted $build" ;;
    run) wanted="$wanted $run" ;;
    web) wanted="$wanted $web" ;;
    test) wanted="$wanted $test" ;;
    lint) wanted="$wanted $lint" ;;
    bench) wanted="$wanted $bench" ;;
    arm64) wanted="$wanted $arm64" ;;
    fuzz) wanted="$wanted $fuzz" ;;
    *)
        echo "deps.sh: unknown group '$group'; groups are build, run, web, test, lint, fuzz, bench, arm64" >&2
        exit 2
        ;;
    esac
done

missing=""
for package in $wanted; do
    case "$package" in
    nodejs | npm) command -v "${package%js}" >/dev/null 2>&1 && continue ;;
    esac
    dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

# shellcheck source=/dev/null
. /etc/os-release
case "${ID:-}-${VERSION_ID:-}" in
debian-12 | debian-13) ;;
*) echo "deps.sh: made for Debian 12 and 13, this is ${PRETTY_NAME:-unknown}; trying all the same" >&2 ;;
esac

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "deps.sh: these packages are missing:$missing" >&2
        echo "deps.sh: install them as root (apt-get install$missing) or run as a user with sudo" >&2
        exit 1
    }
    as_root="sudo"
fi

# A fresh PostgreSQL would make a cluster of its own and a fresh Mosquitto would listen: Muster starts private ones instead.
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf
fresh=""
made_policy=""
changed_cluster=""
for service in postgresql mosquitto; do
    case " $missing " in *" $service "*) fresh="$fresh $service" ;; esac
done

restore() {
    [ -z "$made_policy" ] || $as_root rm -f "$policy"
    [ -z "$changed_cluster" ] || $as_root sed -i 's/^create_main_cluster = false # muster$/#create_main_cluster = true/' "$cluster"
}
trap restore EXIT INT TERM

install() {
    # shellcheck disable=SC2086 # a list of package names
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

echo "installing:$missing"
$as_root apt-get update -qq
if [ -n "$fresh" ] && [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    made_policy=1
fi
case "$fresh" in
*postgresql*)
    install postgresql-common
    if ! grep -Eq '^create_main_cluster' "$cluster"; then
        $as_root sed -i 's/^#create_main_cluster = .*$/create_main_cluster = false # muster/' "$cluster"
        changed_cluster=1
    fi
    ;;
esac
# shellcheck disable=SC2086 # a list of package names
install $missing
for service in $fresh; do
    if command -v systemctl >/dev/null 2>&1; then
        $as_root systemctl disable --quiet "$service" 2>/dev/null || true
    fi
done
