ip link delete t0
ip -n host-c1 link delete vx0
ip link delete br0
ip link delete br1
ip netns delete host-c1
