import datetime
import socket
import sys

with socket.create_connection(("127.0.0.1", 1236)) as connection, connection.makefile("r") as lines:
    for _ in range(int(sys.argv[1])):
        connection.sendall(b"TIME")
        told = datetime.datetime.fromisoformat(lines.readline().strip())
        now = datetime.datetime.now(datetime.timezone.utc)
        print(f"ahead by {(told - now).total_seconds():.3f} s", flush=True)
