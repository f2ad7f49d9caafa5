# Tries many targets at once. Argument: JSON list of [proto, address, port] and optionally seconds to wait; prints a JSON list of answers (null: none).
import json, socket, sys, threading
targets = json.loads(sys.argv[1]); answers = [None] * len(targets)
def probe(i, proto, address, port, timeout=1.0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        s = socket.socket(family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        s.settimeout(timeout); s.connect((address, port))
        if proto == "udp": s.send(b"hi")
        answers[i] = s.recv(200).decode() or None
    except OSError: pass
threads = [threading.Thread(target=probe, args=(i, *t)) for i, t in enumerate(targets)]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps(answers))
