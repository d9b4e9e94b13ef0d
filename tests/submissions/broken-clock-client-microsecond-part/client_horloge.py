import datetime
import socket

n = int(input("Combien de fois ? "))
s = socket.create_connection(("localhost", 1236))
f = s.makefile("rw")
for i in range(n):
    f.write("what time is it?\n")
    f.flush()
    serveur = datetime.datetime.fromisoformat(f.readline().strip())
    moi = datetime.datetime.now(serveur.tzinfo)
    print("Serveur :", serveur, "Difference :", (moi.microsecond - serveur.microsecond) / 1e6, "s")
