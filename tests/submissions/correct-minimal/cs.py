import threading
import time
from socket import *


def client(c):
    for line in c.makefile():
        c.sendall((time.ctime() + "\n").encode())


s = socket()
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 1236))
s.listen()
while 1:
    c, addr = s.accept()
    threading.Thread(target=client, args=(c,)).start()
