import socket
import threading
import time


def servir(c):
    reste = b""
    while True:
        reste += c.recv(1024)
        while b"?" in reste:
            question, reste = reste.split(b"?", 1)
            c.sendall((time.ctime() + "\n").encode())
        time.sleep(0.01)


s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 1236))
s.listen(50)
while True:
    c, _ = s.accept()
    threading.Thread(target=servir, args=(c,)).start()
