#!/bin/sh
# deps: install from Debian what is missing. Usage: deps.sh build|check|lint|bench   (each includes the ones before)
# Root or sudo is needed only where a package is missing.
set -eu
packages="gcc make pkg-config binutils libc6-dev libzmq3-dev libczmq-dev libprotobuf-c-dev protobuf-c-compiler libdb5.3-dev libconfig-dev libxxhash-dev"
case ${1:-build} in
build) ;;
check) packages="$packages check libsubunit-dev strace procps" ;;
lint) packages="$packages check libsubunit-dev strace procps clang clang-format clang-tidy cppcheck" ;;
bench) packages="$packages procps nats-server redis-server mosquitto libmosquitto-dev golang-go golang-github-nats-io-go-nats-dev libhiredis-dev libraft-dev python3-minimal" ;;
*) echo "usage: deps.sh build|check|lint|bench" >&2; exit 2 ;;
esac
missing=
for package in $packages; do
    status=$(dpkg-query -W -f='${Status}' "$package" 2> /dev/null || true)
    case $status in *"ok installed") ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0
command -v apt-get > /dev/null || {
    echo "missing packages:$missing: install them (this is made for Debian 12)" >&2
    exit 1
}
root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || {
        echo "missing packages:$missing: run as root once: apt-get install$missing" >&2
        exit 1
    }
    root=sudo
fi
echo "installing from Debian:$missing"
export DEBIAN_FRONTEND=noninteractive
quiet() { "$@" > /tmp/railgun-deps.$$ 2>&1 || { cat /tmp/railgun-deps.$$ >&2; rm -f /tmp/railgun-deps.$$; exit 1; }; rm -f /tmp/railgun-deps.$$; }
quiet $root apt-get update -qq
# A package that starts a service must not do so here: peers are started by the bench on their own ports.
quiet $root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends $missing
