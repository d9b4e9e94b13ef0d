import socket
import threading
import time


def servir(c):
    try:
        while True:
            question = c.recv(1024)
            if not question:
                break
            c.sendall((time.ctime() + "\n").encode())
    except OSError:
        pass
    c.close()


s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 1236))
s.listen(20)
while True:
    c, _ = s.accept()
    threading.Thread(target=servir, args=(c,)).start()
