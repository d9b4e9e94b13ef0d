from socket import *
from time import time

rtts = []
for i in range(10):
    timeout = 0.25
    while timeout < 10:
        s = socket(AF_INET, SOCK_DGRAM)  # new socket: old answers can not arrive here
        s.settimeout(timeout)
        t = time()
        s.sendto(b"hello", ("127.0.0.1", 1234))
        try:
            s.recv(1024)
            rtts.append(time() - t)
            print("rtt", rtts[-1])
            break
        except OSError:
            print("timeout", timeout)
            timeout *= 2
        finally:
            s.close()
if rtts:
    print("avg", sum(rtts) / len(rtts))
