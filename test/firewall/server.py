# Answers every connection and datagram on the given ports with "<name> <address of the peer>". Arguments: name port...
import selectors, socket, sys
name, ports = sys.argv[1], [int(p) for p in sys.argv[2:]]
wait = selectors.DefaultSelector()
def tcp(sock):
    conn, peer = sock.accept()
    conn.sendall(f"{name} {peer[0]}".encode()); conn.close()
def udp(sock):
    _, peer = sock.recvfrom(2048)
    sock.sendto(f"{name} {peer[0]}".encode(), peer)
for port in ports:
    for family, any_ in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind, serve in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
            s = socket.socket(family, kind)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind((any_, port))
            if kind == socket.SOCK_STREAM: s.listen(64)
            wait.register(s, selectors.EVENT_READ, serve)
print("ready", flush=True)
while True:
    for key, _ in wait.select():
        try: key.data(key.fileobj)
        except OSError: pass
