#!/bin/sh
# run: run test programs one after the other, and end with one line: "N passed, N failed". Usage: run.sh BUILD_DIR PART...
# Parts: unit sim replay system. Logs stay in BUILD_DIR/tests/log/; what failed is shown last, where somebody looks first.
set -u
build=$1
shift
logs=$build/tests/log
mkdir -p "$logs"
failures=$logs/failures.txt
: > "$failures"
passed=0 failed=0
one() { # name, command...
    name=$1
    shift
    start=$(date +%s)
    "$@" > "$logs/$name.log" 2>&1
    code=$?
    summary=$(grep -E '^[0-9]+%: Checks: ' "$logs/$name.log" | tail -1)
    if [ -n "$summary" ]; then
        checks=$(echo "$summary" | sed -E 's/.*Checks: ([0-9]+),.*/\1/')
        bad=$(echo "$summary" | sed -E 's/.*Failures: ([0-9]+), Errors: ([0-9]+).*/\1 \2/' | awk '{ print $1 + $2 }')
    else
        checks=1 bad=0
        [ $code -eq 0 ] || bad=1
    fi
    [ $code -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    passed=$((passed + checks - bad))
    failed=$((failed + bad))
    if [ "$bad" -eq 0 ]; then
        printf '%-40s %4d ok     %3d s\n' "$name" "$checks" $(($(date +%s) - start))
    else
        printf '%-40s %4d of %d FAILED (%s)\n' "$name" "$bad" "$checks" "$logs/$name.log" | tee -a "$failures"
        # Check tells each failure as FILE:LINE:F:TEST..., a sanitizer what it found: first these, then what was printed around.
        grep -aE ':[0-9]+:[FE]:|ERROR: |runtime error:|SUMMARY: ' "$logs/$name.log" | cut -c1-600 | head -20 >> "$failures"
        grep -avE '^time=.* level=(debug|info) ' "$logs/$name.log" | tail -60
    fi
}
for part in "$@"; do
    case $part in
    unit)
        for program in $(find "$build/tests/unit" -type f -perm -u+x 2> /dev/null | grep -v '\.o$' | sort); do
            one "unit_$(echo "${program#"$build"/tests/unit/}" | tr / _)" "$program"
        done ;;
    replay)
        for program in $(find "$build/tests/fuzz" -maxdepth 1 -type f -perm -u+x 2> /dev/null | grep -v '\.[od]$' | sort); do
            name=$(basename "$program" _fuzz)
            one "replay_$name" "$program" "tests/fuzz/corpus/$name"
        done ;;
    sim) # the consensus core: transcripts, all small states, random clusters
        sim=$build/tests/sim/sim
        one sim_scripts "$sim" --scripts tests/script
        one sim_search "$build/tests/sim/search" --states "${SEARCH_STATES:-150000}"
        one sim_search_members "$build/tests/sim/search" --states "${SEARCH_STATES:-150000}" --crashes 0 --messages 3 --terms 3
        one sim_seeds "$sim" --file tests/sim/seeds.txt --seeds "${SIM_SEEDS:-6000}" ;;
    system)
        one system "$build/tests/system/system" ;;
    *) echo "run.sh: unknown part $part" >&2; exit 2 ;;
    esac
done
if [ $((passed + failed)) -eq 0 ]; then echo "no test was run"; exit 1; fi
cat "$failures"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
