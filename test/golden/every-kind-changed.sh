ip link set t0 master br1
bridge link set dev t0 isolated on
ip link set t1 mtu 1300 master br0
ip addr delete 169.254.1.1/32 dev br0
ip addr add 169.254.1.1/32 dev br0 scope global
ip netns exec host-c1 nft delete element inet t ports '{ tcp . 8080 }'
ip netns exec host-c1 nft add element inet t ports '{ tcp . 8080 comment "web of test01" : 172.17.0.3 . 81 }'
