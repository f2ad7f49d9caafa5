ip netns add host-c1
ip netns exec host-c1 sysctl -w 'net.ipv4.ping_group_range=0	99'
ip netns exec host-c1 nft -f - <<'EOF'
table inet t {
	comment "abc"
	map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
	set ifs { type ifname; }
	map v { type ipv6_addr : verdict; }
	chain x { }
}
EOF
ip netns exec host-c1 nft add element inet t ports '{ tcp . 8080 comment "web of test01" : 172.17.0.2 . 80 }'
ip netns exec host-c1 nft add element inet t ifs '{ "br-1" }'
ip netns exec host-c1 nft add element inet t v '{ fd00::2 : goto x }'
ip link add br0 type bridge mcast_snooping 0 nf_call_iptables 1 ageing_time 1000
ip link set br0 up
ip link add br1 type bridge
ip link set br1 up
ip link add vx0 mtu 1450 type vxlan id 256 dstport 4789 local 127.0.0.1 nolearning proxy
ip link set vx0 netns host-c1
ip -n host-c1 link set vx0 up
ip link add mv0 link br1 netns host-c1 type macvlan mode bridge
ip -n host-c1 link set mv0 up
ip link add t0 type veth peer name t1
ip link set t0 master br0 up
bridge link set dev t0 hairpin on learning off flood off neigh_suppress on locked off
ip link set t1 master br1 up
ip -n host-c1 addr add 10.5.0.1/24 brd 10.5.0.255 dev mv0
ip addr add 169.254.1.1/32 dev br0 scope link
ip -n host-c1 route add blackhole 10.7.0.0/16
ip route add 10.9.0.2/32 dev br0 scope link
ip -n host-c1 route add 10.6.0.0/16 via 10.5.0.9 dev mv0 metric 7 table 100
ip -n host-c1 route add 10.8.0.0/16 via 169.254.1.1 dev mv0 src 10.5.0.1 onlink
ip -n host-c1 rule add priority 99 from 10.5.0.0/24 fwmark 5 iif mv0 lookup 100
ip -6 -n host-c1 rule add priority 98 to fd00::/64 lookup 100
ip -n host-c1 neigh replace 10.0.0.3 lladdr 02:42:0a:00:00:03 nud permanent dev vx0
ip neigh replace proxy 169.254.1.9 dev br0
bridge -n host-c1 fdb replace 02:42:0a:00:00:03 dev vx0 dst 192.168.205.11 self permanent
bridge -n host-c1 fdb append 00:00:00:00:00:00 dev vx0 dst 192.168.205.11 self permanent
bridge -n host-c1 fdb append 00:00:00:00:00:00 dev vx0 dst 192.168.205.12 self permanent
bridge fdb replace 02:42:0a:00:00:09 dev t0 master static
