#!/bin/sh
# Every static check; all of them run, and the exit status is 1 when one complained.
#   packaging/lint.sh C_FILE ...
# shellcheck disable=SC2317,SC2016 # functions are called through check; sh -c texts expand in the inner shell
set -u
cd "$(dirname "$0")/.." || exit 2
bad=0
check() {
    name="$1"
    shift
    if "$@"; then echo "ok    $name"; else
        echo "FAIL  $name"
        bad=1
    fi
}

flags="-std=gnu2x -D_GNU_SOURCE -I. -I$(packaging/onnxruntime.sh --where)/include $(pkg-config --cflags libmicrohttpd libpq jansson)"
headers=$(find common server agent cli -name '*.h')

# shellcheck disable=SC2086 # lists of flags and files
format() { clang-format --dry-run --Werror "$@" $headers tests/unit/*.c tests/faults/*.c tests/bench/*.c tests/arm64/*.c tests/fuzz/*.[ch]; }
# shellcheck disable=SC2086
tidy() { printf '%s\n' "$@" | xargs -P "$(nproc)" -n 8 sh -c 'clang-tidy --quiet "$@" -- '"$flags"' 2>/dev/null' sh; }
# shellcheck disable=SC2086
compile() { # the second compiler, warnings as errors
    printf '%s\n' "$@" | xargs -P "$(nproc)" -n 8 sh -c 'for f; do clang -fsyntax-only -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes \
        -Wmissing-prototypes -Wundef -Wvla -Werror '"$flags"' "$f" || exit 255; done' sh
}
# Both compilers shift a sign in from the left, and the deltas count on it.
# shellcheck disable=SC2086
analyze() {
    cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 --suppress=missingInclude \
        --suppress=syntaxError --suppress=unknownMacro --suppress=shiftTooManyBitsSigned -D_GNU_SOURCE -I. "$@"
}
# Calls that have a safe form in common/base, or none.
banned() {
    ! grep -nE '\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|system|popen|alloca|tmpnam|mktemp)[[:space:]]*\(' "$@"
}
# SQL lives in server/store, server/db and the migrations only.
sql_place() { ! grep -nE '"[[:space:]]*(SELECT|INSERT INTO|UPDATE [a-z_]+ SET|DELETE FROM) ' "$@" | grep -vE '^(server/(store|db|migrate)|agent/state)'; }
scripts() { git ls-files -z | xargs -0 grep -lE '^#!/bin/(ba)?sh' | xargs shellcheck; }
manuals() { for page in docs/man/*.[18]; do mandoc -T lint -W warning "$page" || return 1; done; }
# A name that a test imports and nobody has any more is found by importing it.
python() {
    git ls-files -z '*.py' | xargs -0 /usr/bin/python3 -m pyflakes &&
        /usr/bin/python3 -m pytest -p no:cacheprovider --collect-only --quiet --no-summary tests/integration >/dev/null
}
console() { PATH="$(packaging/node.sh):$PATH" npm --prefix web run --silent check; }

check "clang-format" format "$@"
check "banned calls" banned "$@"
check "SQL only in server/store" sql_place "$@"
check "clang, warnings as errors" compile "$@"
check "clang-tidy" tidy "$@"
check "cppcheck" analyze "$@"
check "shellcheck" scripts
check "manual pages" manuals
check "Python (pyflakes, imports of the tests)" python
check "console (svelte-check, eslint)" console
exit "$bad"
