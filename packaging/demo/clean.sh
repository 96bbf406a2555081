#!/bin/sh
# Removes what the demo and its check keep: var/, and the folders under /var/tmp that var/ links to.
set -eu
cd "$(dirname "$0")/../.."
for link in var/*/postgres var/*/broker; do
    [ -L "$link" ] || continue
    target=$(readlink "$link")
    case "$target" in
    /var/tmp/muster-*) rm -rf "$target" ;;
    esac
done
rm -rf var
