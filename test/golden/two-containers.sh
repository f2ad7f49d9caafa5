ip netns add host-c1
ip netns add host-c2
ip netns exec host-c1 sysctl -w net.ipv6.conf.all.disable_ipv6=1
ip netns exec host-c2 sysctl -w net.ipv6.conf.all.disable_ipv6=1
ip netns exec host-c1 sysctl -w net.ipv4.ip_unprivileged_port_start=0
ip netns exec host-c1 sysctl -w 'net.ipv4.ping_group_range=0	2147483647'
ip netns exec host-c2 sysctl -w net.ipv4.ip_unprivileged_port_start=0
ip netns exec host-c2 sysctl -w 'net.ipv4.ping_group_range=0	2147483647'
ip netns exec host-c2 sysctl -w net.ipv4.conf.all.log_martians=1
ip netns exec host-c1 sysctl -w net.ipv6.conf.lo.disable_ipv6=0
ip link add docker0 mtu 1500 address 02:42:d0:10:c0:4d type bridge
ip link set docker0 up
ip link add br-plain mtu 1500 address 02:42:a2:7b:8f:0b type bridge
ip link set br-plain up
ip link add br.six mtu 1400 address 02:42:f7:a5:d5:b9 type bridge
ip link set br.six up
ip -n host-c1 link set lo up
ip -n host-c2 link set lo up
ip link add veth04798d4 mtu 1500 type veth peer name eth0 mtu 1500 address 02:42:ac:12:00:02 netns host-c1
ip link set veth04798d4 master br-plain up
ip -n host-c1 link set eth0 up
ip link add vethedf5f83 mtu 1500 type veth peer name eth0 mtu 1500 address 02:42:ac:12:00:03 netns host-c2
ip link set vethedf5f83 master br-plain up
ip -n host-c2 link set eth0 up
ip link add veth8f22892 mtu 1400 type veth peer name eth1 mtu 1400 address 02:42:0a:63:00:01 netns host-c1
ip link set veth8f22892 master br.six up
bridge link set dev veth8f22892 isolated on
ip -n host-c1 link set eth1 up
ip netns exec host-c1 sysctl -w net.ipv6.conf.eth1.disable_ipv6=0
ip addr add 172.17.0.1/16 brd 172.17.255.255 dev docker0
ip addr add 172.18.0.1/16 brd 172.18.255.255 dev br-plain
ip addr add 10.99.0.254/24 brd 10.99.0.255 dev br.six
ip addr add fd00:99::1/64 dev br.six nodad
ip -n host-c1 addr add 172.18.0.2/16 brd 172.18.255.255 dev eth0
ip -n host-c2 addr add 172.18.0.3/16 brd 172.18.255.255 dev eth0
ip -n host-c1 addr add 10.99.0.1/24 brd 10.99.0.255 dev eth1
ip -n host-c1 addr add fd00:99::2/64 dev eth1 nodad
ip -n host-c1 route add default via 172.18.0.1 dev eth0
ip -n host-c2 route add default via 172.18.0.1 dev eth0
ip -6 -n host-c1 route add default via fd00:99::1 dev eth1
