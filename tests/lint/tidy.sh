#!/bin/sh
# tidy: house rules that no compiler knows; each ban names its replacement. Usage: tidy.sh [ROOT]
set -eu
cd "${1:-.}"
bad=0
files=$(git ls-files '*.c' '*.h' 2> /dev/null | grep -v '^tests/lint/bad/' || true)
[ -n "${1:-}" ] && files=$(find . -name '*.[ch]' | sed 's|^\./||')
[ -n "$files" ] || { echo "tidy: no files"; exit 1; }
ban() { # pattern, files to leave out (regex), message
    found=$(for f in $files; do echo "$f"; done | grep -Ev "$2" | xargs -r grep -nE "$1" /dev/null | grep -vE ':[0-9]+: *(/\*| \*)' || true)
    if [ -n "$found" ]; then
        echo "$found" | sed "s|\$|   <- $3|"
        bad=1
    fi
}
none='^$'
ban '\b(strcpy|strcat|sprintf|vsprintf|gets|alloca|strtok|atoi|atol|atoll)\(' "$none" 'use str_copy, snprintf, buf_printf or str_to_u64'
ban '\b(malloc|calloc|realloc|free)\(' '^(common/base/mem\.c|client/examples/|examples/|tests/fuzz/lib/|bench/)' 'use mem_new, mem_try_new, mem_free'
ban '\bzmq_socket\(|\bzsock_new' '^(common/run/|tests/)' 'use common/run/bus'
ban '\b(fsync|fdatasync|pwritev?|fallocate)\(' '^(common/store/|tests/|bench/)' 'use common/store/fs'
ban '\b(rand|srand|random)\(' "$none" 'use common/base/rand'
ban '\b(sleep|usleep)\(' '^(tests/|bench/)' 'wait for an event with a deadline'
ban '\bexit\(' '^(tests/|bench/|adminctl/|common/run/daemon|examples/)' 'return an error; only main ends the process'
ban '\bassert\(' "$none" 'use INVARIANT'
ban 'TODO|FIXME|\bXXX\b' '^common/base/' 'file an issue'
ban '^[ 	]*//.*;[ 	]*$' "$none" 'no commented-out code'
ban '	' "$none" 'four spaces, no tabs'
ban '[ 	]+$' "$none" 'no blanks at the end of a line'
for f in $files; do
    lines=$(wc -l < "$f")
    if [ "$lines" -gt 900 ]; then echo "$f: $lines lines: split it (one file is one idea, 200-600 lines)"; bad=1; fi
done
exit $bad
