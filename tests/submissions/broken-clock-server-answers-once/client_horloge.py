# Exercice 2 : client d'horloge, une connexion pour chaque question
import socket
import time

for i in range(5):
    s = socket.create_connection(("localhost", 1236))
    s.sendall(b"what time is it?\n")
    recu = b""
    while b"\n" not in recu:
        morceau = s.recv(100)
        if morceau == b"":
            break
        recu += morceau
    s.close()
    heure = time.mktime(time.strptime(recu.decode().strip()))
    print("Difference :", int(heure) - int(time.time()), "s")
