#!/bin/sh
# floors: who may include whom (floors.txt is the table), and no circle between files. Usage: floors.sh [ROOT]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-.}"
list=$(mktemp) pairs=$(mktemp)
trap 'rm -f "$list" "$pairs"' EXIT
bad=0
grep -v '^#' "$here/floors.txt" > "$list"
for folder in $(cut -d' ' -f1 "$list"); do
    [ -d "$folder" ] || continue
    allowed=" $folder $(sed -n "s|^$folder  *||p" "$list") "
    for file in "$folder"/*.[ch]; do
        [ -f "$file" ] || continue
        sed -n 's/^ *# *include *"\([^"]*\)".*/\1/p' "$file" | while read -r header; do
            case $header in
            railgun.h) target=client ;;
            */*) target=${header%/*} ;;
            *) target=$folder; header=$folder/$header ;;
            esac
            case $allowed in
            *" $target "*) ;;
            *) echo "$file: includes $header: $folder may not use $target (tests/lint/floors.txt)"; echo x >> "$pairs.bad" ;;
            esac
            case $file in *.h) echo "$file $header" >> "$pairs" ;; esac
        done
    done
done
if [ -s "$pairs.bad" ]; then bad=1; fi
rm -f "$pairs.bad"
# A circle of headers is a circle of modules.
if ! tsort "$pairs" > /dev/null 2> "$list"; then
    echo "headers include each other in a circle:"; cat "$list"; bad=1
elif [ -s "$list" ]; then
    echo "headers include each other in a circle:"; cat "$list"; bad=1
fi
exit $bad
