import datetime
import socket

n = int(input("Combien de fois ? "))
s = socket.create_connection(("localhost", 1236))
f = s.makefile("rw")
for i in range(n):
    t1 = datetime.datetime.now()
    f.write("what time is it?\n")
    f.flush()
    serveur = datetime.datetime.fromisoformat(f.readline().strip())
    t2 = datetime.datetime.now()
    print("Serveur →", serveur, "différence ≈", (t2 - t1).total_seconds(), "s")
