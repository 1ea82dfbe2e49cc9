#!/bin/bash
# Instructions of the request path, counted by callgrind and compared with counts.txt: repeatable
# where time is not. See README.md.
#
#   tests/bench/callgrind.sh            compare; more than 3 % off fails
#   tests/bench/callgrind.sh --update   write counts.txt anew
#
# SPOA_BUILD: the build folder [build]; its bench-path is built if need be.
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
BUILD=${SPOA_BUILD:-$ROOT/build}
COUNTS=$HERE/counts.txt
LIMIT=3 # percent
FEW=20 MANY=120

fail() { printf 'callgrind.sh: %s\n' "$*" >&2; exit 1; }
skip() { printf 'skipped: %s\n' "$*"; exit 77; }

command -v valgrind >/dev/null || skip "there is no valgrind"
cmake --build "$BUILD" --target bench-path >/dev/null || fail "bench-path could not be built in $BUILD"
path=$BUILD/tests/bench/bench-path

# Counts are of one compiler's code on one kind of processor: valgrind passes AVX2 on where it is.
cc=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$BUILD/CMakeCache.txt")
type=$(sed -n 's/^CMAKE_BUILD_TYPE:[A-Z]*=//p' "$BUILD/CMakeCache.txt")
sanitize=$(sed -n 's/^SPOA_SANITIZE:[A-Z]*=//p' "$BUILD/CMakeCache.txt")
name=$("$cc" --version | sed -n '1s/^.*\(gcc\|clang\|cc\).*$/\1/p')
simd=baseline
grep -qw avx2 /proc/cpuinfo && simd=avx2
key="${name/#cc/gcc}-$("$cc" -dumpversion | cut -d. -f1) $type $(uname -m) $simd"
[ -z "$sanitize" ] || skip "a build with -fsanitize=$sanitize counts the sanitizer"

collected() { # CASE TIMES
	valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=path_request \
		"$path" "$1" "$2" 2>&1 | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# Two runs of different length: what happens once, caches being filled, falls out.
measure() {
	local case few many
	for case in $("$path"); do
		few=$(collected "$case" $FEW)
		many=$(collected "$case" $MANY)
		[ -n "$few" ] && [ -n "$many" ] || fail "valgrind counted nothing for $case"
		printf '%s %s\n' "$case" $(((many - few) / (MANY - FEW)))
	done
}

if [ "${1:-}" = --update ]; then
	now=$(measure) || exit 1
	{
		printf '# Instructions of one request, from its NOTIFY to the line that ends it: callgrind.sh\n'
		printf '# %s\n%s\n' "$key" "$now"
	} >"$COUNTS"
	cat "$COUNTS"
	exit 0
fi

kept=$(sed -n '2s/^# //p' "$COUNTS")
[ "$kept" = "$key" ] || skip "counts.txt is of $kept, this is $key"
measure | awk -v limit=$LIMIT -v file="$COUNTS" '
	BEGIN {
		while ((getline line < file) > 0)
			if (line !~ /^#/ && split(line, f, " ") == 2)
				kept[f[1]] = f[2]
	}
	{
		now[$1] = $2
		if (!($1 in kept)) {
			printf "%-16s %9d  not in counts.txt\n", $1, $2
			off++
			next
		}
		percent = 100 * ($2 - kept[$1]) / kept[$1]
		bad = percent > limit || percent < -limit
		off += bad
		printf "%-16s %9d  was %9d  %+.1f %%%s\n", $1, $2, kept[$1], percent,
			bad ? "  CHANGED" : ""
	}
	END {
		for (name in kept)
			if (!(name in now)) {
				printf "%-16s not counted\n", name
				off++
			}
		exit off > 0 || NR == 0
	}'
status=("${PIPESTATUS[@]}")
[ "${status[0]}" -eq 0 ] || fail "not every case could be counted"
if [ "${status[1]}" -ne 0 ]; then
	cat >&2 <<-END

		The request path takes another number of instructions than tests/bench/counts.txt says, by
		more than $LIMIT %. If that is what was wanted, run

		  tests/bench/callgrind.sh --update

		commit counts.txt with the change, and say in the commit why: what got dearer and what that
		buys, or what made it cheaper. If it was not wanted, look for the function:

		  valgrind --tool=callgrind --toggle-collect=path_request $path CASE 100
		  callgrind_annotate --inclusive=yes callgrind.out.*
	END
	exit 1
fi
