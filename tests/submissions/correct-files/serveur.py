"""Serveur HTTP : envoie le fichier demande, un thread par connexion.

Exemple : http://localhost:12345/bonjour.html
"""

import os
import socket
import threading

DOSSIER = os.path.dirname(os.path.abspath(__file__))


def lire_requete(client):
    requete = b""
    while b"\r\n\r\n" not in requete:
        morceau = client.recv(2048)
        if not morceau or len(requete) > 50000:
            return None
        requete += morceau
    return requete.decode("latin-1")


def repondre(client, etat, contenu):
    entete = f"HTTP/1.1 {etat}\r\nContent-Length: {len(contenu)}\r\nConnection: close\r\n\r\n"
    client.sendall(entete.encode() + contenu)


def servir(client):
    with client:
        try:
            requete = lire_requete(client)
            if requete is None:
                return
            try:
                nom = requete.split()[1].lstrip("/")
                if nom not in os.listdir(DOSSIER) or not nom.endswith(".html"):
                    repondre(client, "404 Not Found", b"<h1>404 Not Found</h1>")
                    return
                with open(os.path.join(DOSSIER, nom), "rb") as fichier:
                    repondre(client, "200 OK", fichier.read())
            except (IndexError, ValueError):
                repondre(client, "500 Internal Server Error", b"<h1>500</h1>")
        except OSError as erreur:
            print("client perdu :", erreur)


serveur = socket.socket()
serveur.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
serveur.bind(("0.0.0.0", 12345))
serveur.listen(50)
print("pret")
while True:
    connexion, _ = serveur.accept()
    threading.Thread(target=servir, args=(connexion,), daemon=True).start()
