# serveur d'horloge avec select
import select
import socket
import time

ecoute = socket.socket()
ecoute.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
ecoute.bind(("", 1236))
ecoute.listen(20)
clients = {}
while True:
    prets, _, _ = select.select([ecoute] + list(clients), [], [])
    for s in prets:
        if s is ecoute:
            c, adresse = ecoute.accept()
            clients[c] = b""
            continue
        donnees = s.recv(1024)
        if not donnees:
            del clients[s]
            s.close()
            continue
        clients[s] += donnees
        while b"?" in clients[s]:
            question, clients[s] = clients[s].split(b"?", 1)
            s.sendall(time.strftime("%Y-%m-%d %H:%M:%S\n").encode())
