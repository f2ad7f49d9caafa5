# Prints "ready", then in hex every frame that comes in on eth0, until killed.
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("eth0", 0))
s.setsockopt(263, 1, (socket.if_nametoindex("eth0")).to_bytes(4, "little") + b"\x01\x00" + bytes(10))  # promiscuous
print("ready", flush=True)
while True:
    frame, (_, _, kind, _, _) = s.recvfrom(4096)
    if kind != socket.PACKET_OUTGOING: print(frame.hex(), flush=True)
