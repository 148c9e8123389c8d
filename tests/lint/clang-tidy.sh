#!/bin/sh
# clang-tidy: one file. What was found good is remembered in CACHE_DIR by a checksum of all that the verdict depends on.
# Usage: clang-tidy.sh CACHE_DIR GENERATED_DIR FILE
set -u
cache=$1 gen=$2 file=$3
flags="-std=c17 -D_GNU_SOURCE -DRAILGUN_VERSION=\"0\" -I. -I$gen"
mkdir -p "$cache"
key=$({ clang-tidy --version; cat .clang-tidy "$0"; gcc $flags -E -C "$file"; } 2>&1 | sha256sum | cut -d' ' -f1)
[ -e "$cache/$key" ] && exit 0
# One file a process: the va_list checker of clang-tidy 14 mistakes what it remembers of one file for the next.
clang-tidy --quiet "$file" -- $flags 2> /dev/null || exit 1
: > "$cache/$key"
