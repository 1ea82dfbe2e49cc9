# shellcheck shell=bash
# Sourced by tests/run.sh and haproxy/demo/run.sh: everything a machine needs, step by step. Each
# step is a function that looks first and does nothing when its work is done, so that the second
# run costs a second. Only Debian packages (packages.txt) and, for the tests, the Debian folders of
# newer HAProxies go anywhere but into the checkout.
#
# Needs: ROOT, the checkout. Leaves: PYTHON and NODE_PATH for the clients.

CACHE=$ROOT/.cache
SPOA_CACHE=${SPOA_CACHE:-${HOME:-/root}/.cache/spoa-inference}
SPOA_CHROOTS=${SPOA_CHROOTS:-$SPOA_CACHE/chroots}
PYTHON=$CACHE/venv/bin/python
export SPOA_CHROOTS NODE_PATH=$CACHE/node/node_modules

say() { printf '%s\n' "$*"; }
step() { printf '== %s\n' "$*"; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# A quiet command whose whole output is shown when it fails.
quietly() {
	local log status=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null || status=$?
	if [ $status -ne 0 ]; then
		tail -n 200 "$log" >&2
		printf '%s: failed (status %s): %s\n' "${0##*/}" $status "$*" >&2
	fi
	rm -f "$log"
	return $status
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		if [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
	else
		return 1
	fi
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The packages of packages.txt that are missing, for everybody and for the words given.
missing_packages() {
	local package command purpose rest
	while read -r package command rest; do
		case $package in ''|'#'*) continue ;; esac
		if [ "$command" = for: ]; then purpose=$rest; command=
		else purpose=${rest#for: }; fi
		case " $* " in *" $purpose "*) ;; *) [ -z "$purpose" ] || continue ;; esac
		if [ -n "$command" ]; then
			PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null && continue
		fi
		installed "$package" || printf '%s ' "$package"
	done <"$ROOT/tests/packages.txt"
}

# Debian starts a service when it installs it. HAProxy's, etcd's and Prometheus's must stay as they
# were found: where one is new, policy-rc.d forbids the start and the links that would start it at
# the next boot are taken back; what was there before apt does not touch.
install_packages() {
	local list status=0 policy=/usr/sbin/policy-rc.d saved='' fresh='' service
	list=$(missing_packages "$@")
	[ -n "$list" ] || return 0
	command -v apt-get >/dev/null || fail "this is no Debian; please install: $list"
	step "installing Debian packages: $list"
	as_root true || fail "root or sudo is needed once, to install: $list"
	case " $list " in *" haproxy "*) fresh="haproxy" ;; esac
	case " $list " in *" etcd-server "*) fresh="$fresh etcd" ;; esac
	case " $list " in *" prometheus "*) fresh="$fresh prometheus" ;; esac
	if as_root test -e $policy; then
		saved=$policy.before-spoa
		as_root mv $policy $saved
	fi
	printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
	as_root chmod 755 $policy
	{
		# shellcheck disable=SC2086  # a list of words
		quietly as_root apt-get update &&
		quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
			--no-install-recommends -o DPkg::Lock::Timeout=300 $list
	} || status=$?
	as_root rm -f $policy
	[ -z "$saved" ] || as_root mv $saved $policy
	for service in $fresh; do
		if [ -e "/etc/init.d/$service" ]; then
			quietly as_root update-rc.d "$service" disable || status=$?
		fi
	done
	return $status
}

# A virtual environment with the official Python clients and pytest.
install_python() {
	local stamp=$CACHE/venv/spoa-requirements
	cmp -s "$ROOT/tests/requirements.txt" "$stamp" && "$PYTHON" -c 'import pytest, openai' \
		2>/dev/null && return 0
	step "installing the Python clients (openai, anthropic) into .cache/venv"
	rm -rf "$CACHE/venv"
	mkdir -p "$CACHE"
	quietly python3 -m venv "$CACHE/venv" &&
	quietly "$PYTHON" -m pip install --disable-pip-version-check \
		-r "$ROOT/tests/requirements.txt" &&
	cp "$ROOT/tests/requirements.txt" "$stamp"
}

# The official client for Node.
install_node() {
	[ -e "$CACHE/node/node_modules/openai/package.json" ] && return 0
	step "installing the Node client (openai) into .cache/node"
	mkdir -p "$CACHE/node"
	quietly npm install --no-fund --no-audit --no-update-notifier --prefix "$CACHE/node" openai@6
}

# build PRESET [TARGET…]: configure once, then build.
build() {
	local preset=$1 dir
	shift
	dir=build-$preset
	[ "$preset" = release ] && dir=build
	if [ ! -e "$ROOT/$dir/build.ninja" ]; then
		(cd "$ROOT" && quietly cmake --preset "$preset") || return 1
	fi
	quietly cmake --build "$ROOT/$dir" -j "${JOBS:-$(nproc)}" ${1+--target "$@"}
}

# ---- newer HAProxies in Debian folders ---------------------------------------------------------
# VERSION SUITE: what Debian's archive holds. Sid and experimental move on: what is found there is
# taken as it is, and the tests say which version they ran.
HAPROXY_SUITES='3.0 trixie
3.2 sid
3.4 experimental'

debian_mirror() {
	local site
	# shellcheck disable=SC2016  # apt's own $
	site=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -m1 '/debian/\?$')
	printf '%s' "${SPOA_MIRROR:-${site:-http://deb.debian.org/debian}}"
}

chroot_haproxy() { # DIR: its version, as 3.2
	as_root chroot "$1" /usr/sbin/haproxy -v 2>/dev/null |
		sed -n 's/^HAProxy version \([0-9]*\.[0-9]*\).*/\1/p'
}

make_chroot() { # SUITE DIR
	local suite=$1 dir=$2 base=$1 mirror
	mirror=$(debian_mirror)
	[ "$suite" = experimental ] && base=sid
	as_root rm -rf "$dir.new"
	as_root mkdir -p "$dir.new"
	quietly as_root debootstrap --variant=minbase --include=ca-certificates \
		"$base" "$dir.new" "$mirror" || return 1
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$dir.new/usr/sbin/policy-rc.d" >/dev/null
	as_root chmod 755 "$dir.new/usr/sbin/policy-rc.d"
	if [ "$suite" = experimental ]; then
		say "deb $mirror experimental main" |
			as_root tee "$dir.new/etc/apt/sources.list.d/experimental.list" >/dev/null
	fi
	quietly as_root chroot "$dir.new" apt-get -o Acquire::Check-Valid-Until=false update &&
	quietly as_root chroot "$dir.new" env DEBIAN_FRONTEND=noninteractive apt-get \
		-o Acquire::Check-Valid-Until=false install -y --no-install-recommends \
		-t "$suite" haproxy || return 1
	as_root chroot "$dir.new" apt-get clean
	# Whole or not at all: a folder of this name is complete.
	as_root rm -rf "$dir"
	as_root mv "$dir.new" "$dir"
}

# Makes what is missing. A version that cannot be had is said aloud and left out; its reason goes
# into CHROOT_REASON_3_2 and so on for the table at the end.
install_chroots() {
	local version suite dir reason
	while read -r version suite; do
		dir=$SPOA_CHROOTS/$suite
		reason=
		if [ -x "$dir/usr/sbin/haproxy" ]; then
			:
		elif ! as_root true 2>/dev/null; then
			reason="no root to make a Debian folder with"
		elif ! command -v debootstrap >/dev/null &&
			! install_packages chroots; then
			reason="no debootstrap"
		else
			step "fetching HAProxy $version (Debian $suite) into $dir"
			as_root mkdir -p "$SPOA_CHROOTS"
			make_chroot "$suite" "$dir" || reason="Debian $suite could not be fetched"
		fi
		if [ -n "$reason" ]; then
			say "   HAProxy $version: $reason"
			printf -v "CHROOT_REASON_${version/./_}" '%s' "$reason"
		fi
	done <<<"$HAPROXY_SUITES"
}

# ---- a control plane for tests/kube ------------------------------------------------------------
# kube-apiserver and its like from Go modules, resource definitions from there too (helm and kubectl:
# tests/charts/tools.py). A folder that is there is complete.
KUBE_VERSION=1.35.4
OPERATOR=github.com/prometheus-operator/prometheus-operator@v0.82.0
KUBE_DEFINITIONS="gateway-api sigs.k8s.io/gateway-api@v1.5.1 config/crd/standard/*_*.yaml
inference-extension sigs.k8s.io/gateway-api-inference-extension@v1.5.0 config/crd/bases/*_*.yaml
prometheus $OPERATOR example/prometheus-operator-crd/*_podmonitors.yaml"

kube_go() { # the first Go that is new enough
	local go minor
	for go in "$(command -v go)" /usr/local/go/bin/go; do
		minor=$("$go" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
		if [ "${minor:-0}" -ge 25 ]; then printf '%s' "$go"; return 0; fi
	done
	return 1
}

make_kube() { # GO DIR
	local go=$1 dir=$2 name module files where
	mkdir -p "$dir/definitions" &&
	(
		cd "$ROOT/tests/kube/plane" &&
		CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOCACHE=$SPOA_CACHE/go-build nice "$go" build -p 2 \
			-trimpath -ldflags "-s -w
				-X k8s.io/component-base/version.gitVersion=v$KUBE_VERSION
				-X k8s.io/component-base/version.gitMajor=${KUBE_VERSION%%.*}
				-X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$KUBE_VERSION")" \
			-o "$dir/kube" .
	) || return 1
	for name in kube-apiserver kube-controller-manager kube-scheduler; do
		ln -s kube "$dir/$name" || return 1
	done
	while read -r name module files; do
		where=$(cd "$dir" && "$go" mod download -json "$module" |
			sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p') || return 1
		mkdir "$dir/definitions/$name" || return 1
		# shellcheck disable=SC2086  # a pattern
		install -m 644 "${where:?}"/$files "$dir/definitions/$name/" || return 1
	done <<<"$KUBE_DEFINITIONS"
}

# Programs of Go into a folder, by "MAKER GO FOLDER", where it is missing; where they cannot be had
# the reason goes into $CACHE/NAME-reason. A folder that is there is complete.
install_go() { # NAME WHAT MAKER FOLDER
	local name=$1 what=$2 maker=$3 dir=$4 go reason=
	mkdir -p "$CACHE" "$SPOA_CACHE"
	rm -f "$CACHE/$name-reason"
	[ -d "$dir" ] && return 0
	if ! go=$(kube_go); then
		reason="no Go 1.25 or later to build $what with"
	else
		step "building $what into $dir (some minutes, once)"
		rm -rf "$dir.new"
		if quietly "$maker" "$go" "$dir.new" && mv "$dir.new" "$dir"; then
			chmod -R u+w "$SPOA_CACHE/go-build" 2>/dev/null
			rm -rf "$SPOA_CACHE/go-build"
		else
			reason="$what could not be built"
		fi
	fi
	[ -z "$reason" ] || printf '%s' "$reason" | tee "$CACHE/$name-reason" | sed 's/^/   /'
}

install_kube() { install_go kube "kube-apiserver" make_kube "$SPOA_CACHE/kube-$KUBE_VERSION"; }

# The official conformance suites, the server that their manifests run, and what stands for an
# endpoint picker's image. The folder's name changes with what they are built from.
conformance_folder() {
	local sum
	sum=$(cd "$ROOT/tests/kube/conformance" &&
		cat base.yaml go.mod go.sum picker/main.go suite_test.go | sha256sum) &&
	printf '%s/conformance-%s' "$SPOA_CACHE" "${sum:0:12}"
}

make_conformance() { # GO DIR
	local go=$1 dir=$2
	mkdir -p "$dir" &&
	(
		cd "$ROOT/tests/kube/conformance" &&
		export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOCACHE="$SPOA_CACHE/go-build" &&
		nice "$go" test -p 2 -c -trimpath -ldflags '-s -w' -o "$dir/suites" . &&
		nice "$go" build -p 2 -trimpath -ldflags '-s -w' -o "$dir/" ./picker \
			sigs.k8s.io/gateway-api/conformance/echo-basic
	)
}

install_conformance() {
	install_go conformance "the conformance suites" make_conformance "$(conformance_folder)"
}
