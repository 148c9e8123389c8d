#!/bin/sh
# planted: builds logd once with each bug of logd/planted.h, runs the storms of tests/system over it, and looks whether the checker names the rule that the bug breaks. Exit status 1 if one
# was not found. Only the files that have the bug are compiled.
# Usage: planted.sh BUILD_DIR [COUNT]: COUNT of them, from a place in the list that follows from the commit; 0: all. PLANTED=n: only that one. CC, CFLAGS, LINK: from the Makefile.
set -u
build=$1 count=${2:-0}
out=$build/planted
list=$(sed -nE 's/^ *X\(([0-9]+), ([A-Z0-9_]+), "([a-z-]+)".*/\1:\2:\3/p' logd/planted.h)
if [ -n "${PLANTED:-}" ]; then
    list=$(echo "$list" | grep "^$PLANTED:")
elif [ "$count" -gt 0 ]; then
    commit=$(git rev-parse HEAD 2> /dev/null || cat logd/*.c)
    first=$(($(echo "$commit" | cksum | cut -d ' ' -f 1) % $(echo "$list" | wc -l)))
    list=$(printf '%s\n%s\n' "$list" "$list" | tail -n +$((first + 1)) | head -n "$count")
fi
found=0 missed=0
printf '%-3s %-18s %-18s %-10s %4s\n' no planted rule found s
for one in $list; do
    number=${one%%:*} name=${one#*:} rule=${one##*:}
    name=${name%:*}
    dir=$out/$number
    rm -rf "$dir"
    mkdir -p "$dir/obj" "$dir/bin" "$dir/tests/system"
    sources=$(grep -l "PLANTED($name)" logd/*.c) || { echo "$name: nothing in logd has it"; exit 2; }
    objects=
    for source in logd/*.c; do
        object=$build/${source%.c}.o
        case " $(echo $sources) " in
        *" $source "*)
            object=$dir/obj/$(basename "$source" .c).o
            ${CC:-gcc} $CFLAGS -w "-DLOGD_PLANTED=$number" -c "$source" -o "$object" || exit 2
            ;;
        esac
        objects="$objects $object"
    done
    ${CC:-gcc} ${LINK:-} -pie -o "$dir/bin/logd" $objects $LIBRARIES || exit 2
    for program in frontd routerd raftd adminctl; do
        ln -s "$(realpath "$build/bin/$program")" "$dir/bin/$program"
    done
    cp "$build/tests/system/system" "$dir/tests/system/system"
    start=$(date +%s) by=no
    for try in 1 2 3; do
        timeout 300 "$dir/tests/system/system" in_a_storm > "$dir/log" 2>&1
        if grep -q "^.*$rule: " "$dir/log"; then
            by=yes
            break
        fi
    done
    if [ "$by" = yes ]; then
        found=$((found + 1))
    else
        missed=$((missed + 1))
        grep -E ':[FE]:' "$dir/log" | cut -c 1-200
    fi
    printf '%-3s %-18s %-18s %-10s %4s\n' "$number" "$name" "$rule" "$by" $(($(date +%s) - start))
    rm -rf "$dir/bin" "$dir/tests" "$dir/obj"
done
echo "$found passed, $missed failed"
[ $missed -eq 0 ]
