#!/bin/sh
# Fuzzes targets one after the other:  tests/fuzz/run.sh PROGRAMS SECONDS TARGET ...
# Begins with tests/fuzz/corpus/TARGET; new inputs and crashes go to var/fuzz/TARGET. Exit status 1 when one crashed.
set -u
cd "$(dirname "$0")/../.." || exit 2
programs="$1"
seconds="$2"
shift 2
bad=0
for target in "$@"; do
    mkdir -p "var/fuzz/$target/new"
    log="var/fuzz/$target/log"
    "$programs/fuzz_$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 \
        -artifact_prefix="var/fuzz/$target/" "var/fuzz/$target/new" "tests/fuzz/corpus/$target" >"$log" 2>&1
    status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ $status -eq 0 ]; then
        echo "ok    $target: ${runs:-0} inputs in $seconds s"
    else
        echo "CRASH $target after ${runs:-?} inputs; see $log and var/fuzz/$target/"
        bad=1
    fi
done
exit $bad
