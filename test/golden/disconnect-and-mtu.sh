ip link delete veth04798d4
ip link set br-plain mtu 1450
ip link set vethedf5f83 mtu 1450
ip -n host-c2 link set eth0 mtu 1450
ip -n host-c1 route add default via 10.99.0.254 dev eth1
