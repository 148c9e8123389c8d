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
refuses() { # the check must fail on its bad sample, and for this reason, or it checks nothing
    name=$1 reason=$2
    shift 2
    if "$@" > "$log" 2>&1; then
        failed=$((failed + 1)); echo "lint: $name did not refuse its bad sample"
    elif ! grep -q "$reason" "$log"; then
        failed=$((failed + 1)); echo "lint: $name failed on its bad sample, but not by \"$reason\""; sed 's/^/    /' "$log" | head -20
    else
        passed=$((passed + 1)); echo "lint: $name refuses its bad sample ok"
    fi
}
sources=$(git ls-files '*.c' '*.h' | grep -v "^$here/bad/")
ours=$(git ls-files 'common/*.c' 'client/*.c' 'frontd/*.c' 'routerd/*.c' 'logd/*.c' 'raftd/*.c' 'adminctl/*.c')
# Large files first, so that both processors end together.
tidy_all() { echo "$ours" | xargs ls -S | xargs -P 2 -n 1 sh $here/clang-tidy.sh build/tidy "$gen"; }
# With the tests, so that a function which only they call passes and one that nobody calls does not. In tests the other checks of cppcheck stumble
# over Check's macros, so only this one counts. The sanitizers call their hooks by name.
unused() {
    found=$(cppcheck --quiet --std=c11 --enable=unusedFunction --suppress=unusedFunction:tests/lib/test.c \
        --suppress=unusedFunction:tests/fuzz/conf_fuzz.c -D__linux__ -I. --template='{file}:{line}: {message} [{id}]' "$@" 2>&1 |
        grep '\[unusedFunction\]')
    echo "$found"
    [ -z "$found" ]
}
case ${LINT_ONLY:-all} in all | fast)
    run floors sh $here/floors.sh
    refuses floors "may not use" sh $here/floors.sh $here/bad
    run headers sh $here/headers.sh "$gen"
    refuses headers "the guard should be" sh $here/headers.sh "$PWD/$gen" $here/bad
    run symbols sh $here/symbols.sh "$build"
    run tidy sh $here/tidy.sh
    refuses tidy "use str_copy" sh $here/tidy.sh $here/bad
    run clang-format sh -c "echo \"$sources\" | xargs clang-format --dry-run -Werror"
    refuses clang-format "clang-formatted" clang-format --dry-run -Werror $here/bad/common/base/bad.c
    ;;
esac
case ${LINT_ONLY:-all} in all | slow)
    run clang-tidy tidy_all
    refuses clang-tidy braces-around-statements clang-tidy --quiet $here/bad/common/base/bad.c -- -std=c17 -I$here/bad -include stddef.h -include stdint.h
    refuses clang-tidy NullDereference clang-tidy --quiet $here/bad/common/base/bad.c -- -std=c17 -I$here/bad -include stddef.h -include stdint.h
    # Not style: what cppcheck 2.10 says of conditions and unread variables is mostly wrong for C as we write it.
    cppcheck="cppcheck --quiet -j2 --std=c11 --error-exitcode=1 --enable=warning,portability,performance
        --suppress=missingIncludeSystem --suppress=missingInclude --suppress=unknownMacro -D__linux__ -I."
    run cppcheck $cppcheck $ours
    refuses cppcheck nullPointer $cppcheck $here/bad/common/base/bad.c
    run unused unused $(git ls-files '*.c' | grep -v "^$here/bad/")
    refuses unused "'bad' is never used" unused $here/bad/common/base/bad.c
    ;;
esac
echo "lint: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
