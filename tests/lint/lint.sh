#!/bin/sh
# lint: everything that can be said about the text without running it. Usage: lint.sh BUILD_DIR GENERATED_DIR
# Prints one line a check and exits 1 if any failed.
set -u
build=$1 gen=$2
here=tests/lint
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
    name=$1
    shift
    if "$@" > "$log" 2>&1; then
        passed=$((passed + 1)); echo "lint: $name ok"
    else
        failed=$((failed + 1)); echo "lint: $name FAILED"; sed 's/^/    /' "$log" | head -60
    fi
}
refuses() { # the check must fail on its bad sample, or it checks nothing
    name=$1
    shift
    if "$@" > "$log" 2>&1; then
        failed=$((failed + 1)); echo "lint: $name did not refuse its bad sample"
    else
        passed=$((passed + 1)); echo "lint: $name refuses its bad sample ok"
    fi
}
sources=$(git ls-files '*.c' '*.h' | grep -v "^$here/bad/")
ours=$(git ls-files 'common/*.c' 'client/*.c' 'frontd/*.c' 'routerd/*.c' 'logd/*.c' 'raftd/*.c' 'adminctl/*.c')
flags="-std=c17 -D_GNU_SOURCE -DRAILGUN_VERSION=\"0\" -I. -I$gen"
tidy_all() { echo "$ours" | xargs -P 2 -n 6 sh -c 'clang-tidy --quiet "$@" -- '"$flags"' 2> /dev/null' tidy; }
case ${LINT_ONLY:-all} in all | fast)
    run floors sh $here/floors.sh
    refuses floors sh $here/floors.sh $here/bad
    run headers sh $here/headers.sh "$gen"
    refuses headers sh $here/headers.sh "$PWD/$gen" $here/bad
    run symbols sh $here/symbols.sh "$build"
    run tidy sh $here/tidy.sh
    refuses tidy sh $here/tidy.sh $here/bad
    run clang-format sh -c "echo \"$sources\" | xargs clang-format --dry-run -Werror"
    refuses clang-format clang-format --dry-run -Werror $here/bad/common/base/bad.c
    ;;
esac
case ${LINT_ONLY:-all} in all | slow)
    run clang-tidy tidy_all
    refuses clang-tidy clang-tidy --quiet $here/bad/common/base/bad.c -- -std=c17 -D_GNU_SOURCE -I.
    run cppcheck cppcheck --quiet -j2 --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,portability \
        --suppress=missingIncludeSystem --suppress=missingInclude --suppress=unknownMacro --suppress=normalCheckLevelMaxBranches \
        -D__linux__ -I. $ours
    refuses cppcheck cppcheck --quiet --error-exitcode=1 $here/bad/common/base/bad.c
    ;;
esac
echo "lint: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
