import socket
import threading
import time

REPONSE = (time.ctime() + "\n").encode()


def servir(c):
    with c:
        for ligne in c.makefile("rb"):
            c.sendall(REPONSE)


s = socket.create_server(("", 1236))
while True:
    c, _ = s.accept()
    threading.Thread(target=servir, args=(c,)).start()
