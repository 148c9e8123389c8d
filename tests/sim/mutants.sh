#!/bin/sh
# mutants: builds the core once with each bug of common/raft/mutants.h, lets the simulator look for it (SEEDS seeds, 10000, then the transcripts), and prints a table: which seed or transcript
# found it, after how many seeds. Exit status 1 if one was not found. Only the files that have the bug are compiled.
# Usage: mutants.sh BUILD_DIR [COUNT]: COUNT of them, from a place in the list that follows from the commit; 0: all. MUTANT=n: only that one.
set -u
build=$1 count=${2:-0}
seeds=${SEEDS:-10000}
out=$build/mutants
list=$(sed -nE 's/^ *X\(([0-9]+), ([A-Z0-9_]+),.*/\1:\2/p' common/raft/mutants.h)
if [ -n "${MUTANT:-}" ]; then
    list=$(echo "$list" | grep "^$MUTANT:")
elif [ "$count" -gt 0 ]; then
    commit=$(git rev-parse HEAD 2> /dev/null || cat common/raft/*.c)
    first=$(($(echo "$commit" | cksum | cut -d ' ' -f 1) % $(echo "$list" | wc -l)))
    list=$(printf '%s\n%s\n' "$list" "$list" | tail -n +$((first + 1)) | head -n "$count")
fi
found=0 missed=0
printf '%-3s %-22s %-30s %6s %4s  %s\n' no mutant 'found by' seeds s what
for mutant in $list; do
    number=${mutant%%:*} name=${mutant#*:}
    dir=$out/$number
    rm -rf "$dir"
    mkdir -p "$dir"
    sources=$(grep -l "MUTANT($name)" common/raft/*.c) || { echo "$name: nothing in common/raft has it"; exit 2; }
    for source in $sources; do
        ${CC:-gcc} -std=c17 -D_GNU_SOURCE -I. -Ibuild/gen -O2 -w "-DRAFT_MUTANT=$number" -c "$source" -o "$dir/$(basename "$source" .c).o" || exit 2
    done
    ${CC:-gcc} ${LINK:-} -o "$dir/sim" "$build"/tests/sim/*.o "$dir"/*.o "$build/lib/common_raft.a" "$build/lib/common_base.a" -lpthread -lm || exit 2
    start=$(date +%s) by='' ran=''
    timeout 600 "$dir/sim" --failures 1 --replay-percent 0 --seeds "$seeds" > "$dir/log" 2>&1
    code=$?
    if [ $code -gt 128 ]; then
        by='a crash'
    elif [ $code -ne 0 ]; then # after 600 s: nothing was found
        by=$(sed -nE 's/^VIOLATION seed ([0-9]+).*/seed \1/p' "$dir/log") ran=${by#seed }
    elif ! "$dir/sim" --scripts tests/script > "$dir/log" 2>&1; then
        by=$(sed -nE 's|^FAILED tests/script/||p' "$dir/log" | head -1) ran=$seeds
    fi
    what=$(sed -nE 's/^VIOLATION seed [0-9]+(, step [0-9]+, [0-9.]+ s)?: //p; s/^  got: */got: /p' "$dir/log" | head -1 | cut -c 1-90)
    if [ -n "$by" ]; then
        found=$((found + 1))
    else
        missed=$((missed + 1))
    fi
    printf '%-3s %-22s %-30s %6s %4s  %s\n' "$number" "$name" "${by:-NOT FOUND}" "$ran" $(($(date +%s) - start)) "$what"
    rm -f "$dir/sim"
done
echo "$found passed, $missed failed"
[ $missed -eq 0 ]
