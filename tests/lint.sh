#!/bin/sh
# What can be said about the sources without running them: form, includes, clang-tidy, shell
# scripts.
#
#   tests/lint.sh [BUILD_DIR]     BUILD_DIR holds compile_commands.json (default: build/debug); it
#                                 keeps what clang-tidy has already found to be fine
#
# Exit status 0: no findings. A tool that is not installed is skipped aloud, and a failure where
# LINT_STRICT is set.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:-build/debug}
failed=0

part() {
	name=$1
	shift
	if "$@"; then
		echo "lint: $name: ok"
	else
		echo "lint: $name: FAILED"
		failed=1
	fi
}

skip() {
	echo "lint: $1: skipped, $2"
	[ -z "${LINT_STRICT:-}" ] || failed=1
}

# Tracked or new, not ignored: a build directory's files are not ours.
sources() {
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files -co --exclude-standard -- "$@" | while read -r f; do
			[ -f "$f" ] && echo "$f"
		done
	else
		for pattern in "$@"; do
			find . -path './build*' -prune -o -name "$pattern" -type f -print
		done
	fi | sort
}

check_format() {
	sources '*.c' '*.h' | xargs clang-format --dry-run -Werror --ferror-limit=1
}

check_shell() {
	{
		sources '*.sh'
		# Scripts without an ending, by their first line.
		sources '*' | grep -v '\.[a-z0-9]*$' | while read -r f; do
			head -n 1 "$f" | grep -q '^#!.*sh$' && echo "$f"
		done
	} | sort -u | xargs shellcheck -x -S warning
}

part check_includes.py tests/check_includes.py
part 'check_includes.py itself' tests/check_includes.py --selftest
if command -v clang-format >/dev/null; then
	part clang-format check_format
else
	skip clang-format 'not installed'
fi
if command -v shellcheck >/dev/null; then
	part shellcheck check_shell
else
	skip shellcheck 'not installed'
fi
if ! command -v clang-tidy >/dev/null; then
	skip clang-tidy 'not installed'
elif [ ! -f "$build/compile_commands.json" ]; then
	echo "lint: clang-tidy: FAILED, no $build/compile_commands.json: configure a build first"
	failed=1
else
	part clang-tidy tests/tidy.py "$build"
fi
exit $failed
