import socket, sys, random

if len(sys.argv) < 2:
    sys.exit("usage: udpserver.py PORT")
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", int(sys.argv[1])))
while True:
    try:
        data, addr = sock.recvfrom(65535)
        if random.random() > 0.5:
            continue
        fields = data.decode().split(",")
        seq = fields[0] if fields[0] else "0"
        attempt = fields[1] if len(fields) > 1 else "0"
        sock.sendto(f"ACK,{seq},{attempt}".encode(), addr)
    except Exception as e:
        sock.sendto(b"ERR,0,0", addr)
