# Tries many targets at once. Argument: JSON list of [proto, address, port]; prints a JSON list of answers (null: none). PROBE_TIMEOUT in seconds.
import json, os, socket, sys, threading
targets = json.loads(sys.argv[1]); answers = [None] * len(targets); timeout = float(os.environ.get("PROBE_TIMEOUT", "0.5"))
def probe(i, proto, address, port):
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
