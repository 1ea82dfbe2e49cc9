#!/bin/bash
# The long tests, each by one word. tests/README.md says how long they take and what they last found.
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/tests/setup.sh"

usage() {
	cat <<-'END'
	usage: tests/deep.sh WORD [ARGUMENT]...

	  valgrind [TEST]...    memcheck over the unit tests of the release build
	  tsan                  unit tests of what has threads, and the agent with four workers under
	                        hostile peers, all under ThreadSanitizer
	  analyze [PATH]...     gcc -fanalyzer and clang --analyze over agent/ and spop/
	  asan [PYTEST]...      the agent under ASan + UBSan in the tests that need no HAProxy
	  sandbox [PYTEST]...   the agent under the system call filter of its systemd unit, in all
	                        tests of the oldest and newest HAProxy that are here
	  chaos [CHAOS]...      an hour of faults under load with a ledger (tests/e2e/chaos.py)
	  fuzz [LONG]...        every fuzz target to 10^8 executions or two hours of CPU
	                        (tests/fuzz/long.py)
	END
}

# What the word needs besides the compilers: tools of the tests and, for "clients", Python's venv.
tools() {
	install_packages tests || fail "the packages could not be installed"
	[ $# -eq 0 ] || install_python || fail "the Python clients could not be installed"
}
need() { step "building: $1"; build "$@" || fail "the build failed: $1"; }
pytest() { "$PYTHON" -m pytest -q -p no:cacheprovider "$@"; }

# Slow under valgrind and without pointers of their own: fed by the fuzz targets under ASan instead.
SLOW='_portable$|test_request_(large|random|blocks|golden)|test_sim_'

# Programs that bring a malloc() of their own to let it fail: no other tool's can be there as well.
own_malloc() {
	(cd "$ROOT/tests/unit" && grep -lE 'failmalloc.h|__libc_malloc' ./*/test_*.c) | sed 's|.*/||; s|\.c$||' | paste -sd' '
}

valgrind_one() {
	local name=$1 log=$CACHE/valgrind/$1.log status
	timeout 1800 valgrind -q --leak-check=full --show-leak-kinds=definite --log-file="$log" \
		"$ROOT/build/tests/$name" >"$log.out" 2>&1
	status=$?
	if grep -qE 'Invalid |uninitialised|Mismatched|overlap' "$log"; then
		say "valgrind: $name: FAILED, see $log"
	elif [ $status -ne 0 ]; then
		say "valgrind: $name: FAILED, not all of its cases pass here, see $log.out"
	elif grep -q 'definitely lost' "$log"; then
		say "valgrind: $name: FAILED, it leaks, see $log"
	else
		say "valgrind: $name: ok"
		return 0
	fi
	return 1
}

valgrind_all() {
	local failed='' name running=0
	tools
	need release
	mkdir -p "$CACHE/valgrind"
	if [ $# -eq 0 ]; then
		for name in "$ROOT"/build/tests/test_*; do
			[[ $name =~ $SLOW || " $(own_malloc) " == *" ${name##*/} "* ]] || set -- "$@" "${name##*/}"
		done
	fi
	for name in "$@"; do
		if [ $running -ge "${JOBS:-$(nproc)}" ]; then
			wait -n || failed=1
			running=$((running - 1))
		fi
		valgrind_one "$name" &
		running=$((running + 1))
	done
	while [ $running -gt 0 ]; do
		wait -n || failed=1
		running=$((running - 1))
	done
	say "valgrind: $# programs, ${failed:+not }all ok"
	[ -z "$failed" ]
}

tsan_all() {
	local tests='' name
	tools clients
	need tsan
	for name in serve/test_{admin,admin_access,conn,control,feedback,health,listener,page,race,worker} pick/test_{pick,ticket} base/test_{log,logsink} \
		observe/test_{scrape,scraper} net/test_{ask,http,http_client,dns} discover/test_{discover,discover_restart,haproxy}; do
		[[ " $(own_malloc) " == *" ${name##*/} "* ]] || tests="$tests${tests:+|}${name##*/}"
	done
	export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
	ctest --test-dir "$ROOT/build-tsan" -R "^($tests)\$" --output-on-failure --timeout 600 || return 1
	SPOA_BUILD=$ROOT/build-tsan SPOA_WORKERS=4 pytest "$ROOT/tests/e2e/test_spop.py" "$ROOT/tests/e2e/test_attack_peers.py" \
		"$ROOT/tests/e2e/test_admin.py" -m 'not haproxy' -k 'not many_who_say_nothing'
}

word=${1:-}
[ $# -gt 0 ] && shift
mkdir -p "$CACHE"
cd "$ROOT" || exit 1
case $word in
valgrind) valgrind_all "$@" ;;
tsan) tsan_all ;;
analyze) tools; need release; tests/analyze.py build "$@" ;;
asan)
	tools clients
	need asan
	export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
	SPOA_BUILD=$ROOT/build-asan pytest tests/e2e -m 'not haproxy' "$@"
	;;
sandbox)
	tools clients
	install_chroots
	need release
	export SPOA_UNDER="$PYTHON $ROOT/tests/e2e/sandbox.py"
	HAPROXY_VERSIONS=${HAPROXY_VERSIONS:-2.6,3.4} pytest tests/e2e "$@"
	;;
chaos) tools clients; need release; exec "$PYTHON" tests/e2e/chaos.py "$@" ;;
fuzz) tools; need fuzz; exec "$PYTHON" tests/fuzz/long.py "$@" ;;
*) usage; [ "$word" = --help ] || [ "$word" = -h ] || exit 2 ;;
esac
