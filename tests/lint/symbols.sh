#!/bin/sh
# symbols: a short name of ours can silently replace a library's own function. Refuse a global symbol that a linked
# library also exports. Usage: symbols.sh OBJECT_DIR
set -eu
ours=$(mktemp) theirs=$(mktemp)
trap 'rm -f "$ours" "$theirs"' EXIT
find "$1" -name '*.o' ! -path '*/tests/*' ! -name '*.pb-c.o' ! -path '*/lib/*' -exec nm --defined-only -g {} + 2> /dev/null |
    awk 'NF == 3 && $3 != "main" { print $3 }' | sort -u > "$ours"
for library in czmq zmq protobuf-c db config c m subunit; do
    path=$(gcc -print-file-name=lib$library.so)
    case $path in */libc.so | */libm.so) path=$(dirname "$path")/$(basename "$path").6 ;; esac
    [ -e "$path" ] || path=$(find /lib /usr/lib -name "lib$library.so.6" | head -1)
    nm -D --defined-only "$path" 2> /dev/null | awk '{ print $NF }' | sed 's/@.*//'
done | sort -u > "$theirs"
[ -s "$ours" ] || { echo "symbols: nothing to check below $1"; exit 1; }
[ "$(wc -l < "$theirs")" -gt 2000 ] || { echo "symbols: the libraries' symbols were not found"; exit 1; }
common=$(comm -12 "$ours" "$theirs")
if [ -n "$common" ]; then
    echo "also exported by a linked library, choose another name:"; echo "$common"; exit 1
fi
