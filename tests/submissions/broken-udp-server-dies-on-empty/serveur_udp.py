# Exercice 1 : serveur UDP qui perd la moitie des messages
import random
import socket

PORT = 1234

serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", PORT))
print("Serveur UDP en attente sur le port", PORT)

while True:
    message, adresse = serveur.recvfrom(2048)
    if not message:
        break
    texte = message.decode("utf-8", errors="replace")
    # une chance sur deux de perdre le message
    if random.random() < 0.5:
        print("Message de", adresse, "perdu :", texte[:40])
        continue
    print("Message de", adresse, ":", texte[:40])
    reponse = "Confirmation du message : " + texte
    serveur.sendto(reponse.encode("utf-8"), adresse)
