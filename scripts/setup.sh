#!/usr/bin/env bash
# Installs what is missing, saying what it does and asking nothing:
#   setup.sh run    what the engine needs at run time (npm start)
#   setup.sh test   that, and what the tests use (npm test)
#   setup.sh bench  that, and the peers that the benchmarks measure beside us
# Needs Debian 12 or newer, root, and Node.js 20.19 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."
level=${1:-run}

say() { echo "setup: $*"; }
stop() { echo "setup: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || stop "must run as root: network namespaces, mounts and nftables need it (try: sudo npm start)"
command -v node >/dev/null || stop "Node.js is missing: install Node.js 20.19 or newer"
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
  stop "Node.js $(node --version) is too old: 20.19 or newer is needed"

# ---- Debian packages: "what proves that it is there" = "package" --------------------------------------------------
missing=()
need() { # need PACKAGE PATH-OR-COMMAND…: the package is missing when one of these is
  local package=$1 what
  shift
  for what in "$@"; do
    case $what in
      /*) compgen -G "$what" >/dev/null && continue ;;
      *) command -v "$what" >/dev/null && continue ;;
    esac
    missing+=("$package")
    return 0
  done
}

need crun crun
need runc runc
need conmon conmon
need libnftables1 '/usr/lib/*/libnftables.so.1*'
need skopeo skopeo
need buildah buildah
need busybox-static /bin/busybox
need tini tini-static
need tar tar
need procps ps
need ca-certificates /etc/ssl/certs/ca-certificates.crt
if [ "$level" = test ] || [ "$level" = bench ]; then
  need iproute2 ip bridge ss
  need nftables nft
  need util-linux nsenter unshare flock
  need bridge-utils brctl
  need iputils-ping ping
  need tcpdump tcpdump
  need jq jq
  need bc bc
  need curl curl
  need conntrack conntrack
  need iptables iptables-save
  need strace strace
  need socat socat
  need python3-minimal /usr/bin/python3
  need gcc gcc
  need libc6-dev '/usr/lib/*/libc.a'
  need bsdutils script
  need etcd-server etcd
  need etcd-client etcdctl
  need docker-registry docker-registry
  need apache2-utils htpasswd
  need debootstrap debootstrap
  need docker-compose docker-compose
  need iperf3 iperf3
  command -v docker >/dev/null || if apt-cache show docker-cli >/dev/null 2>&1; then need docker-cli docker; else need docker.io docker; fi
fi
if [ "$level" = bench ]; then
  need containernetworking-plugins /usr/lib/cni/bridge
  need docker.io dockerd
  need dnsmasq-base dnsmasq
  need dnsperf dnsperf
fi

if [ ${#missing[@]} -gt 0 ]; then
  say "installing Debian packages: ${missing[*]}"
  command -v apt-get >/dev/null || stop "no apt-get here: install these by hand: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # Nothing that is installed here shall start a service of its own (docker.io, etcd and the registry would).
  policy=/usr/sbin/policy-rc.d
  made_policy=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    made_policy=1
  fi
  trap '[ -n "$made_policy" ] && rm -f $policy' EXIT
  log=$(mktemp)
  for try in 1 2 3; do
    apt-get update -q >"$log" 2>&1 && apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$log" 2>&1 && break
    [ $try = 3 ] && { tail -20 "$log" >&2; stop "apt-get could not install: ${missing[*]}"; }
    say "apt-get failed, trying again in 5 s"
    sleep 5
  done
  rm -f "$log"
fi

# ---- npm packages and the compiled program -----------------------------------------------------------------------
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  # No install scripts: what is native comes prebuilt inside the packages (one optional part of a test client would be compiled for a minute).
  say "installing npm packages"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
say "compiling"
npm run --silent build
