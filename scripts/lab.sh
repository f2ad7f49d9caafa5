#!/usr/bin/env bash
# Two hosts with etcd and two engines on this one machine, as network namespaces, so that the two-host text can be typed along.
#   scripts/lab.sh up          make everything (asks nothing, touches nothing outside its own namespaces)
#   scripts/lab.sh shell 1     a shell on docker-node1 (192.168.205.10), with the docker command aimed at its engine; 2 likewise (192.168.205.11)
#   scripts/lab.sh run 1 CMD…  one command there
#   scripts/lab.sh down        take everything away
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
LAB=${LINKSPAN_LAB:-/run/linkspan-lab}
SWITCH=lklab-switch

node_ns() { echo "lklab-node$1"; }
node_ip() { echo "192.168.205.$((9 + $1))"; }
enter() { local n=$1; shift; nsenter --net=/run/netns/"$(node_ns "$n")" "$@"; }
alive() { [ -n "${1:-}" ] && [ -d "/proc/$1" ] && tr '\0' ' ' <"/proc/$1/cmdline" | grep -q "$LAB/"; }

up() {
  [ -d "$LAB" ] && { echo "the lab is up already (or was not taken down): scripts/lab.sh down first" >&2; exit 1; }
  [ -f dist/main.js ] || bash scripts/setup.sh run
  for tool in ip nsenter etcd etcdctl docker; do
    command -v $tool >/dev/null || { echo "missing here: $tool. bash scripts/setup.sh test installs everything that the lab needs" >&2; exit 1; }
  done
  mkdir -p "$LAB"
  trap 'echo "could not be brought up; taking it down again" >&2; trap - ERR; down' ERR
  ip netns add $SWITCH
  ip -n $SWITCH link set lo up
  ip -n $SWITCH link add br0 type bridge
  ip -n $SWITCH addr add 192.168.205.1/24 dev br0
  ip -n $SWITCH link set br0 up
  local n members=
  for n in 1 2; do
    ip netns add "$(node_ns $n)"
    ip -n "$(node_ns $n)" link set lo up
    ip -n $SWITCH link add port$n type veth peer name eth0 netns "$(node_ns $n)"
    ip -n $SWITCH link set port$n master br0 up
    ip -n "$(node_ns $n)" addr add "$(node_ip $n)/24" dev eth0
    ip -n "$(node_ns $n)" link set eth0 up
    ip -n "$(node_ns $n)" route add default via 192.168.205.1
    members+="${members:+,}docker-node$n=http://$(node_ip $n):2380"
  done
  for n in 1 2; do
    mkdir -p "$LAB/etcd$n"
    enter $n setsid etcd --name docker-node$n --data-dir "$LAB/etcd$n/data" --initial-advertise-peer-urls "http://$(node_ip $n):2380" \
      --listen-peer-urls "http://$(node_ip $n):2380" --listen-client-urls "http://$(node_ip $n):2379,http://127.0.0.1:2379" \
      --advertise-client-urls "http://$(node_ip $n):2379" --initial-cluster-token etcd-cluster --initial-cluster "$members" --initial-cluster-state new \
      >"$LAB/etcd$n/log" 2>&1 </dev/null &
    echo $! >"$LAB/etcd$n/pid"
  done
  for n in 1 2; do
    wait_for "etcd on docker-node$n" enter $n env ETCDCTL_API=3 etcdctl --endpoints http://127.0.0.1:2379 endpoint health
    mkdir -p "$LAB/node$n/x"
    enter $n setsid unshare --uts sh -c 'hostname $0; exec "$@"' docker-node$n bin/linkspan daemon --data-root "$LAB/node$n/data" --exec-root "$LAB/node$n/x" \
      --pidfile "$LAB/node$n/pid" -H "unix://$LAB/node$n/docker.sock" -H tcp://0.0.0.0:2375 \
      --cluster-store="etcd://$(node_ip $n):2379" --cluster-advertise="$(node_ip $n):2375" >"$LAB/node$n/log" 2>&1 </dev/null &
    wait_for "the engine on docker-node$n" docker -H "unix://$LAB/node$n/docker.sock" version
  done
  trap - ERR
  cat <<TXT
Two hosts are up: docker-node1 $(node_ip 1), docker-node2 $(node_ip 2).
  scripts/lab.sh shell 1      then: docker network create -d overlay demo
                                    docker run -d --name test1 --net demo busybox sh -c "while true; do sleep 3600; done"
  scripts/lab.sh shell 2      then: docker run -d --name test2 --net demo busybox sh -c "while true; do sleep 3600; done"
                                    docker exec test2 ping -c3 test1
  scripts/lab.sh down         when you are done
TXT
}

wait_for() {
  local what=$1 i
  shift
  for i in $(seq 150); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
  echo "$what did not come up; see $LAB/*/log" >&2
  return 1
}

down() {
  local n pid i m
  for n in 1 2; do
    if [ -S "$LAB/node$n/docker.sock" ]; then
      m=$(timeout 20 docker -H "unix://$LAB/node$n/docker.sock" ps -aq 2>/dev/null) && [ -n "$m" ] && timeout 60 docker -H "unix://$LAB/node$n/docker.sock" rm -f $m >/dev/null 2>&1
    fi
    for pid in $(cat "$LAB/node$n/pid" "$LAB/etcd$n/pid" 2>/dev/null); do
      alive "$pid" || continue
      kill "$pid" 2>/dev/null
      for i in $(seq 150); do alive "$pid" || break; sleep 0.1; done
      alive "$pid" && kill -9 "$pid"
    done
  done
  for m in $(awk -v p="$LAB/" 'index($5, p) == 1 { print $5 }' /proc/self/mountinfo | sort -r); do umount -l "$m"; done
  for n in $(node_ns 1) $(node_ns 2) $SWITCH; do ip netns del "$n" 2>/dev/null; done
  rm -rf "$LAB"
}

case ${1:-} in
  up) up ;;
  down) set +e; down ;;
  shell | run)
    n=${2:-1}
    [ -S "$LAB/node$n/docker.sock" ] || { echo "no such host, or the lab is not up: scripts/lab.sh up" >&2; exit 1; }
    export DOCKER_HOST=unix://$LAB/node$n/docker.sock ETCDCTL_API=3 PS1="[docker-node$n]\$ "
    if [ "$1" = shell ]; then enter "$n" unshare --uts sh -c "hostname docker-node$n; exec bash --norc"; else shift 2; enter "$n" "$@"; fi
    ;;
  *) sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
