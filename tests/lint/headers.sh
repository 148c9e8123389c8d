#!/bin/sh
# headers: each header compiles alone and guards itself by its path. Usage: headers.sh GENERATED_DIR [ROOT]
set -eu
gen=$1
cd "${2:-.}"
bad=0
for header in $(git ls-files '*.h' 2> /dev/null || find . -name '*.h' | sed 's|^\./||'); do
    case $header in tests/lint/bad/*) [ -n "${2:-}" ] || continue ;; esac
    guard=$(echo "$header" | tr 'a-z/.-' 'A-Z___')
    [ "$header" = client/railgun.h ] && guard=RAILGUN_H
    if ! grep -q "^#ifndef $guard\$" "$header"; then
        echo "$header: the guard should be $guard"; bad=1
    fi
    if ! echo "#include \"$header\"" | gcc -std=c17 -D_GNU_SOURCE -I. -I"$gen" -Wall -Wextra -Werror -fsyntax-only -x c -; then
        echo "$header: does not compile alone"; bad=1
    fi
done
exit $bad
