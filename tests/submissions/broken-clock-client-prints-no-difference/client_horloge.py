import datetime
import socket

n = int(input("Combien de fois ? "))
s = socket.create_connection(("localhost", 1236))
f = s.makefile("rw")
for i in range(n):
    f.write("what time is it?\n")
    f.flush()
    serveur = datetime.datetime.fromisoformat(f.readline().strip())
    print("Serveur :", serveur)
