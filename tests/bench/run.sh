#!/bin/bash
# The benchmark, from nothing: installs what it needs, builds, measures, prints tables and one
# verdict per budget. The exit status is 0 when every budget is met. See README.md.
#
#   tests/bench/run.sh [--quick] [--json FILE] [--haproxy BIN] [--plots DIR] [more: --help]
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$ROOT/tests/setup.sh"

case " $* " in
*" -h "*|*" --help "*) exec python3 "$ROOT/tests/bench/bench.py" --help ;;
esac

install_packages tests bench || fail "the packages could not be installed"
case " $* " in
*" --haproxy "*|*" --haproxy="*) ;;
*) install_chroots ;;
esac

# yyjson, to compare with: Debian has it from 13 on. Where a folder of 13 is at hand for its
# HAProxy, the library comes out of there.
YYJSON=
if ! installed libyyjson-dev; then
	YYJSON=$CACHE/yyjson
	if [ ! -e "$YYJSON/usr/include/yyjson.h" ] && [ -d "$SPOA_CHROOTS/trixie" ] &&
		mkdir -p "$YYJSON" && work=$(as_root mktemp -d -p "$SPOA_CHROOTS/trixie/tmp"); then
		as_root chmod 777 "$work"
		quietly as_root chroot "$SPOA_CHROOTS/trixie" sh -c \
			"cd /tmp/${work##*/} && apt-get -q update; apt-get -q download libyyjson-dev libyyjson0" &&
			for deb in "$work"/*.deb; do dpkg -x "$deb" "$YYJSON"; done
		as_root rm -rf "$work"
	fi
	[ -e "$YYJSON/usr/include/yyjson.h" ] || YYJSON=
fi

BUILD=${SPOA_BUILD:-$ROOT/build}
if [ ! -e "$BUILD/build.ninja" ] || [ -n "$YYJSON" ]; then
	quietly cmake -S "$ROOT" -B "$BUILD" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
		-DSPOA_YYJSON="$YYJSON" || fail "cmake"
fi
step "building"
quietly cmake --build "$BUILD" -j "${JOBS:-$(nproc)}" --target spoa-inference spoa-sim bench ||
	fail "the build"
export SPOA_BUILD=$BUILD
[ -z "$YYJSON" ] || SPOA_YYJSON_LIB=$(dirname "$(find "$YYJSON" -name 'libyyjson.so.0' | head -1)")
export SPOA_YYJSON_LIB=${SPOA_YYJSON_LIB:-}
# Each system needs a descriptor or three for each of 1,000 clients.
ulimit -n "$(ulimit -Hn)" 2>/dev/null
exec python3 -B "$ROOT/tests/bench/bench.py" "$@"
