#!/bin/bash
# Every test of the project: installs what it needs, builds, runs, counts. See --help.
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/tests/setup.sh"

usage() {
	cat <<-'END'
	usage: tests/run.sh [--quick] [--part NAME]... [--no-install] [--help]

	  --quick        what needs no HAProxy: unit tests of the release build, Python's own, the
	                 fast checks, every fuzz corpus once; under a minute of testing
	  --part NAME    this part alone; may be repeated. Parts:
	                   lint unit unit-asan python fuzz corpus sim
	                   e2e-agent e2e-attack e2e-2.6 e2e-3.0 e2e-3.2 e2e-3.4 (e2e: all of these)
	                   chaos (three minutes; tests/deep.sh chaos is the hour)
	                   charts kube compose systemd counts
	  --no-install   change nothing outside the checkout: what is missing fails or is skipped

	At the end a table tells, part by part, what passed, failed and was skipped and why; the last
	line is "N passed, N failed, N skipped". The exit status is 0 when nothing failed.

	environment:
	  SPOA_CACHE     where the newer HAProxies (Debian folders made by debootstrap) and the
	                 Kubernetes programs are kept [~/.cache/spoa-inference]
	  SPOA_CHROOTS   the folder that holds them [$SPOA_CACHE/chroots]
	  SPOA_MIRROR    the Debian mirror they come from [the one apt uses]
	  FUZZ_SECONDS   for each fuzz target [30]
	  SPOA_TEST_PLACES  how many percent of the places bodies are cut at under ASan [40; .ci/run: 100]
	  JOBS           compilers at a time [number of processors]
	END
}

parts=()
quick=
install=1
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 ;;
	--part) [ $# -gt 1 ] || fail "--part needs a name"; parts+=("$2"); shift ;;
	--part=*) parts+=("${1#--part=}") ;;
	--no-install) install= ;;
	-h|--help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
if [ ${#parts[@]} -eq 0 ]; then
	if [ -n "$quick" ]; then
		parts=(lint-quick unit python corpus)
		export SPOA_QUICK=1
	else
		parts=(lint unit unit-asan counts python fuzz sim e2e chaos charts kube compose systemd)
	fi
fi
expanded=()
for part in "${parts[@]}"; do
	case $part in
	e2e) expanded+=(e2e-agent e2e-attack e2e-2.6 e2e-3.0 e2e-3.2 e2e-3.4) ;;
	lint|lint-quick|unit|unit-asan|python|fuzz|corpus|sim|charts|kube|compose|systemd|counts|chaos|e2e-agent|e2e-attack|e2e-[0-9].[0-9]*)
		expanded+=("$part") ;;
	*) fail "no part is named $part; --help lists them" ;;
	esac
done
parts=("${expanded[@]}")
wants() { case " ${parts[*]} " in *" $1"*) return 0 ;; esac; return 1; }

cd "$ROOT" || exit 1
started=$SECONDS
if [ -n "$install" ]; then
	purposes=(tests)
	for part in kube compose systemd; do
		if wants $part; then purposes+=("$part"); fi
	done
	if wants systemd; then purposes+=(chroots); fi # its debootstrap
	install_packages "${purposes[@]}" || fail "the packages could not be installed"
	if wants kube; then # it takes minutes the first time: the part waits for it, nothing else
		mkdir -p "$CACHE"
		rm -f "$CACHE/kube-made"
		{ install_kube; install_conformance; touch "$CACHE/kube-made"; } &
		export SPOA_KUBE_MADE=$CACHE/kube-made
	fi
	if wants python || wants e2e || wants chaos || wants sim || wants kube || wants charts || wants compose || wants systemd; then
		install_python || fail "the Python clients could not be installed"
		if wants e2e; then
			install_node || fail "the Node client could not be installed"
		fi
	fi
	if wants e2e-3 || wants chaos || wants kube; then
		install_chroots
	fi
fi
# tests/parts.py says for which versions there is none, and these say why.
export SPOA_SKIP_3_0=${CHROOT_REASON_3_0:-} SPOA_SKIP_3_2=${CHROOT_REASON_3_2:-}
export SPOA_SKIP_3_4=${CHROOT_REASON_3_4:-}
installed_after=$SECONDS

# Builds: what users run; the second compiler; ASan + UBSan; libFuzzer.
failed_builds=
make_build() { # PRESET [TARGET…]
	step "building: $1"
	build "$@" || failed_builds="$failed_builds $1"
}
make_build release
if wants lint && [ -z "$quick" ]; then make_build clang; fi
if wants unit-asan; then make_build asan; fi
if wants fuzz || wants corpus; then
	targets=()
	for source in tests/fuzz/fuzz_*.c; do
		source=${source##*/}
		targets+=("${source%.c}")
	done
	make_build fuzz "${targets[@]}"
fi

[ -x "$PYTHON" ] || PYTHON=$(command -v python3)
export SPOA_FAILED_BUILDS=$failed_builds
export SPOA_SECONDS_INSTALL=$((installed_after - started))
export SPOA_SECONDS_BUILD=$((SECONDS - installed_after))
exec "$PYTHON" "$ROOT/tests/parts.py" "${parts[@]}"
