import datetime
import socket

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 1236))
while True:
    question, client = s.recvfrom(1024)
    maintenant = datetime.datetime.now()
    try:
        s.sendto(str(maintenant).encode(), client)
    except OSError as e:
        print(e)
