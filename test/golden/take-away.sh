ip link delete vethedf5f83
ip link delete veth8f22892
ip link delete docker0
ip link delete br-plain
ip link delete br.six
ip netns delete host-c1
ip netns delete host-c2
