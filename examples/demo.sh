#!/bin/sh
# demo: a node from nothing. Publishes every line of a book, lets a group of two members consume it while logd is killed
# with -9 twice, and compares what came out with what went in. Then the same lines as ephemeral messages with topics, while
# routerd is killed, and a request that a command answers. Usage: demo.sh BIN_DIR DIR
set -eu
bin=$(cd "$1" && pwd)
mkdir -p "$2"
dir=$(cd "$2" && pwd)
book=$(cd "$(dirname "$0")" && pwd)/opticks.txt
ctl() { "$bin/adminctl" --dir "$dir" "$@"; }
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ adminctl %s\n' "$*"; ctl "$@"; }
pid_of() { ctl status -o json | tr '{' '\n' | sed -n "s/.*\"daemon\": *\"$1\".*\"pid\": *\([0-9]*\).*/\1/p"; }
members=
finish() {
    code=$?
    for pid in $members; do kill "$pid" 2> /dev/null || true; done
    ctl down > /dev/null 2>&1 || true
    [ $code -eq 0 ] || { echo "demo: FAILED (logs are in $dir/log)"; tail -n 5 "$dir"/log/*.log 2> /dev/null || true; }
}
trap finish EXIT
trap 'exit 1' INT TERM

ctl down > /dev/null 2>&1 || true
rm -rf "$dir"
mkdir -p "$dir"
lines=$(wc -l < "$book")

say "1. A node: frontd, routerd, logd, raftd"
show up --port 0 --detach
show status

say "2. A stream, made sure of (twice: the second time nothing changes)"
show stream ensure opticks --description "Newton, Opticks, fourth edition"
show stream ensure opticks --description "Newton, Opticks, fourth edition"

say "3. Publish $lines lines, each exactly once, while logd is killed with -9"
ctl pub opticks --file "$book" --once --rate 6000 -o json > "$dir/pub.json" &
publisher=$!
sleep 0.7
before=$(pid_of logd-0)
kill -9 "$before"
echo "killed logd-0 (pid $before)"
wait "$publisher"
cat "$dir/pub.json"
show stream info opticks

say "4. Consume with a group of two members; every 50th message is nacked once; logd is killed again"
for member in 1 2; do
    ctl consume opticks -g readers --name "member-$member" --rate 3000 --nack-every 50 --idle 3s \
        -f '%o %a %p\n' > "$dir/out.$member" 2> "$dir/out.$member.err" &
    members="$members $!"
done
sleep 0.8
before=$(pid_of logd-0)
kill -9 "$before"
echo "killed logd-0 (pid $before)"
show group info opticks readers
for pid in $members; do wait "$pid"; done
members=
cat "$dir"/out.*.err
show group info opticks readers

say "5. Compare what came out with what went in"
cat "$dir/out.1" "$dir/out.2" > "$dir/out"
# Lines are "offset attempt text": offset n must hold line n of the book, each at least once.
awk -v book="$book" -v wanted="$lines" -v one="$(wc -l < "$dir/out.1")" -v two="$(wc -l < "$dir/out.2")" '
    BEGIN { while ((getline line < book) > 0) text[++n] = line }
    {
        offset = $1; attempt = $2
        payload = substr($0, length(offset) + length(attempt) + 3)
        if (!(offset in text) || payload != text[offset]) { wrong++ }
        if (seen[offset]++) { again++ } else { distinct++ }
        if (attempt > 1) { redelivered++ }
    }
    END {
        printf "  lines published          %d\n", wanted
        printf "  distinct lines received  %d  (member 1: %d, member 2: %d)\n", distinct, one, two
        printf "  lost                     %d\n", n - distinct
        printf "  wrong text or offset     %d\n", wrong
        printf "  delivered again          %d  (nacked, or in flight when logd was killed)\n", redelivered
        printf "  seen more than once      %d\n", again
        exit !(n == wanted && distinct == n && wrong == 0 && redelivered > 0)
    }' "$dir/out"

say "6. Topics: the same lines as ephemeral messages, over two frontds, while routerd is killed with -9"
show up --frontd 2
ctl es sub 'book.#' --idle 3s -f '%p\n' > "$dir/all" 2> "$dir/all.err" &
members="$members $!"
for member in 1 2; do
    ctl es sub 'book.*' -g readers --idle 3s -f '%p\n' > "$dir/half.$member" 2> "$dir/half.$member.err" &
    members="$members $!"
done
for file in all half.1 half.2; do
    while ! grep -q subscribed "$dir/$file.err"; do sleep 0.05; done
done
ctl es pub book.opticks --rate 8000 -o json < "$book" > "$dir/es.json" &
publisher=$!
sleep 0.5
before=$(pid_of routerd-0)
kill -9 "$before"
echo "killed routerd-0 (pid $before)"
wait "$publisher"
cat "$dir/es.json"
for pid in $members; do wait "$pid"; done
members=
show es info
sort "$book" > "$dir/book.sorted"
sort "$dir/half.1" "$dir/half.2" > "$dir/half.sorted"
cmp "$book" "$dir/all"
cmp "$dir/book.sorted" "$dir/half.sorted"
echo "  the subscriber of book.# has all $lines lines in order; the two members of the group share them: $(wc -l < "$dir/half.1") and $(wc -l < "$dir/half.2")"
show es pub nobody.listens hello --receipt

say "7. A request: a command answers it; without a responder one is told so at once"
ctl reply 'count.words' --exec 'wc -w' --count 1 2> "$dir/reply.err" &
members="$members $!"
while ! grep -q subscribed "$dir/reply.err"; do sleep 0.05; done
show req count.words "Why does the prism divide the light"
wait $members
members=
show req count.words "anybody there?" && exit 1 || echo "exit code $?, as it should be: nobody was there"

say "8. Stop the node"
show down
trap - EXIT
echo
echo "demo: ok"
