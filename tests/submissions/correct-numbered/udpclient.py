import socket, sys, time

if len(sys.argv) != 3:
    print("usage: udpclient.py <server ip> <server port>")
    sys.exit(1)
server_ip = sys.argv[1]
server_port = int(sys.argv[2])
N = int(input("How many requests? "))
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
rtts = []
for seq in range(1, N + 1):
    timeout = 0.5
    for attempt in range(10):
        start = time.time()
        sock.sendto(f"{seq},{attempt},hello".encode(), (server_ip, server_port))
        sock.settimeout(timeout)
        try:
            while True:
                data, addr = sock.recvfrom(1024)
                kind, s, a = data.decode().split(",")
                if kind == "ACK" and int(s) == seq and int(a) == attempt:
                    break
            rtt = time.time() - start
            rtts.append(rtt)
            print(f"Request {seq}: RTT {rtt*1e6:.0f} us after {attempt + 1} attempt(s)")
            break
        except socket.timeout:
            print(f"Request {seq}: attempt {attempt + 1} timed out after {timeout} s")
            timeout *= 1.5
print("Average RTT: %.0f us" % (1e6 * sum(rtts) / len(rtts)))
