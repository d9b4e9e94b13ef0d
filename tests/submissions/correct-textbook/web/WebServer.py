# Web server, after the textbook, with one thread for each connection
from socket import *
from threading import Thread


def serve(connectionSocket):
    try:
        request = b''
        while b'\r\n\r\n' not in request and len(request) < 100000:
            data = connectionSocket.recv(1024)
            if not data:
                break
            request = request + data
        try:
            method, filename, version = request.split(b'\r\n')[0].decode().split()
            if method != 'GET':
                status, page = '405 Method Not Allowed', 'Only GET.'
            elif filename == '/':
                status, page = '200 OK', open('page.html').read()
            elif filename == '/crash':
                status, page = str(1 / 0), ''
            else:
                status, page = '404 Not Found', 'No such page.'
        except Exception:
            status, page = '500 Internal Server Error', 'Something went wrong.'
        if request:
            connectionSocket.sendall(('HTTP/1.1 ' + status + '\r\n').encode())
            connectionSocket.sendall('Content-Type: text/html; charset=utf-8\r\n'.encode())
            connectionSocket.sendall('Connection: close\r\n\r\n'.encode())
            connectionSocket.sendall(page.encode())
    except OSError:
        pass
    connectionSocket.close()


serverPort = 12345
serverSocket = socket(AF_INET, SOCK_STREAM)
serverSocket.bind(('', serverPort))
serverSocket.listen(100)
print('The server is ready to receive')
while True:
    connectionSocket, addr = serverSocket.accept()
    Thread(target=serve, args=[connectionSocket]).start()
