#!/bin/sh
# mutants: builds the core once with each bug of common/raft/mutants.h and lets the simulator, then the scripts, then the unit tests of the core look for it. Prints a table; exit status 1 if one was
# not found. Usage: mutants.sh BUILD_DIR [COUNT [FIRST]]: COUNT of them, from a place in the list that moves on with the date; 0: all. MUTANT=n: only that one.
set -u
build=$1 count=${2:-0} first=${3:-}
seeds=${SEEDS:-20000}
out=$build/mutants
mkdir -p "$out"
list=$(sed -nE 's/^ *X\(([0-9]+), ([A-Z0-9_]+),.*/\1:\2/p' common/raft/mutants.h)
total=$(echo "$list" | wc -l)
if [ -n "${MUTANT:-}" ]; then
    list=$(echo "$list" | grep "^$MUTANT:")
elif [ "$count" -gt 0 ]; then
    [ -n "$first" ] || first=$(($(date +%s) / 86400 * count % total))
    list=$(echo "$list $list" | tr ' ' '\n' | tail -n +$((first + 1)) | head -n "$count")
fi
sources=$(grep -l 'MUTANT(' common/raft/*.c)
found=0 missed=0
printf '%-4s %-24s %-10s %9s %7s  %s\n' no mutant 'found by' seed s what
for mutant in $list; do
    number=${mutant%%:*} name=${mutant#*:}
    dir=$out/$number
    mkdir -p "$dir"
    for source in $sources; do
        ${CC:-gcc} -std=c17 -D_GNU_SOURCE -I. -Ibuild/gen -O2 -w "-DRAFT_MUTANT=$number" -c "$source" -o "$dir/$(basename "$source" .c).o" || exit 2
    done
    start=$(date +%s)
    ${CC:-gcc} -o "$dir/sim" "$build"/tests/sim/*.o "$dir"/*.o "$build/lib/common_raft.a" "$build/lib/common_base.a" -lpthread -lm || exit 2
    by=sim
    "$dir/sim" --quiet --failures 1 --replay-percent 0 --seeds "$seeds" > "$dir/log" 2>&1 < /dev/null
    code=$?
    if [ $code -eq 0 ]; then
        by=script
        "$dir/sim" --scripts tests/script > "$dir/log" 2>&1
        code=$?
    fi
    if [ $code -eq 0 ]; then
        by=unit
        ${CC:-gcc} -Wl,--allow-multiple-definition -o "$dir/unit" "$build"/tests/obj/common/raft/*.o "$build"/tests/lib/*.o "$dir"/*.o \
            "$build/lib/common_raft.a" "$build/lib/common_base.a" -lcheck -lsubunit -lrt -lpthread -lm || exit 2
        "$dir/unit" > "$dir/log" 2>&1
        code=$?
    fi
    if [ $code -ne 0 ]; then
        found=$((found + 1))
        seed=$(sed -nE 's/^VIOLATION seed ([0-9]+).*/\1/p' "$dir/log" | head -1)
        what=$(grep -E '^VIOLATION|^FAILED|:[FE]:' "$dir/log" | head -1 | sed -E 's/^VIOLATION seed [0-9]+(, step [0-9]+, [0-9.]+ s)?: //; s|^tests/unit/||' | cut -c1-100)
        printf '%-4s %-24s %-10s %9s %7s  %s\n' "$number" "$name" "$by" "${seed:--}" $(($(date +%s) - start)) "$what"
        rm -f "$dir/sim" "$dir/unit"
    else
        missed=$((missed + 1))
        printf '%-4s %-24s %-10s %9s %7s\n' "$number" "$name" MISSED - $(($(date +%s) - start))
    fi
done
echo "$found found, $missed missed"
[ $missed -eq 0 ]
