import random
from socket import *

s = socket(AF_INET, SOCK_DGRAM)
s.bind(("127.0.0.1", 1234))
while 1:
    data, addr = s.recvfrom(1024)
    if random.randint(0, 1):
        s.sendto(data, addr)
