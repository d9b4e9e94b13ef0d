import random
import socket

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 1234))
while True:
    message, client = server.recvfrom(65535)
    if random.random() < 0.5:
        server.sendto(message, client)
