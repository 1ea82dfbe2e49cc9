#!/bin/bash
# A whole inference gateway on this machine, to look at: HAProxy, the agent, six simulated model
# servers, real requests. See --help.
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$ROOT/tests/setup.sh"

usage() {
	cat <<-'END'
	usage: haproxy/demo/run.sh [--once] [--haproxy BIN] [--no-install] [--help]

	Installs what is missing (Debian packages; everything else stays in this checkout), builds,
	starts HAProxy with haproxy/haproxy.cfg as it is, the agent, and six simulated model servers,
	sends requests with curl and the official OpenAI and Anthropic clients, and shows where each
	went and why. Then it stays up until Ctrl-C.

	  --once         end after the requests; exit status 0 only if every answer came from where
	                 it should
	  --haproxy BIN  another HAProxy than the one in PATH (2.6 or later)
	  --no-install   use what is there

	What it writes is in haproxy/demo/run/: configurations, sockets, logs. It ends every process
	that it started. The packaged haproxy service is neither started nor stopped.
	END
}

arguments=()
install=1
while [ $# -gt 0 ]; do
	case $1 in
	--once) arguments+=(--once) ;;
	--haproxy) [ $# -gt 1 ] || fail "--haproxy needs a program"; arguments+=(--haproxy "$2"); shift ;;
	--no-install) install= ;;
	-h|--help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

if [ -n "$install" ]; then
	install_packages demo || fail "the packages could not be installed"
	install_python || fail "the Python clients could not be installed"
	install_node || fail "the Node client could not be installed"
fi
step "building the agent and the simulated model servers into build/"
build release spoa-inference spoa-sim || fail "the build failed"
[ -x "$PYTHON" ] || PYTHON=$(command -v python3)
exec "$PYTHON" "$ROOT/haproxy/demo/demo.py" ${arguments+"${arguments[@]}"}
