import datetime
import socket
import threading


def exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return data


def serve(connection):
    with connection:
        try:
            while question := exactly(connection, 4):
                now = datetime.datetime.now(datetime.timezone.utc).isoformat()
                connection.sendall(f"{now}\n".encode() if question == b"TIME" else b"eh?\n")
        except OSError:
            pass


listener = socket.create_server(("", 1236))
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
