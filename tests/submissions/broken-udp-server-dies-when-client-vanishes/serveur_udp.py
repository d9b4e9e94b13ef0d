# serveur UDP : une socket connectee par client, toutes sur le port 1234
import random
import select
import socket


def nouvelle_socket():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", 1234))
    return s


accueil = nouvelle_socket()
clients = {}
while True:
    prets, _, _ = select.select([accueil] + list(clients.values()), [], [])
    for s in prets:
        if s is accueil:
            message, adresse = s.recvfrom(2048)
            if adresse not in clients:
                if len(clients) >= 500:
                    clients.pop(next(iter(clients))).close()
                clients[adresse] = nouvelle_socket()
                clients[adresse].connect(adresse)
            s = clients[adresse]
        elif s.fileno() >= 0:
            message = s.recv(2048)
        else:
            continue
        if random.random() < 0.5:
            s.send(b"Confirmation : " + message)
