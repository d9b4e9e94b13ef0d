"""TP 1, exercise 3: web server with sockets. One thread for each client."""

from socket import AF_INET, SOCK_STREAM, socket
from threading import Thread

WORKING = "<html><body><h1>The web server is working.</h1></body></html>"
ERROR = "<html><body><h1>500 Internal Server Error</h1></body></html>"


def make_page(request):
    method, path, version = request.split("\r\n")[0].split()
    if method != "GET":
        raise ValueError("only GET")
    if path in ("/", "/index.html"):
        return WORKING
    return "<html><body><h1>Nothing here</h1></body></html>"


def answer(client):
    request = ""
    while "\r\n\r\n" not in request:
        data = client.recv(2048)
        if not data:
            client.close()
            return
        request += data.decode("latin-1")
    try:
        page = make_page(request)
    except Exception as error:
        print("error:", error)
        page = ERROR
    body = page.encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    head += "Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    client.sendall(head.encode() + body)
    client.close()


server = socket(AF_INET, SOCK_STREAM)
server.bind(("", 12345))
server.listen(50)
print("ready")
while True:
    client, address = server.accept()
    Thread(target=answer, args=(client,), daemon=True).start()
