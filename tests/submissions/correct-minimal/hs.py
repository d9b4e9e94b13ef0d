import threading
from socket import *

page = b"<h1>hello</h1>"


def client(c):
    try:
        req = c.makefile("rb")
        method, path, version = req.readline(8192).split()
        while req.readline(8192) not in (b"\r\n", b"\n", b""):
            pass
        if path == b"/":
            c.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + page)
        else:
            c.sendall(b"HTTP/1.0 404 Not Found\r\n\r\nnot found")
    except Exception:
        c.sendall(b"HTTP/1.0 500 Internal Server Error\r\n\r\nerror")
    finally:
        c.shutdown(SHUT_RDWR)
        c.close()


s = socket()
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 12345))
s.listen(20)
while 1:
    c, addr = s.accept()
    threading.Thread(target=client, args=(c,)).start()
