# serveur UDP : un message sur deux est perdu
import socket

serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", 1234))
compteur = 0
while True:
    message, adresse = serveur.recvfrom(2048)
    compteur += 1
    if compteur % 2 == 0:
        print("perdu", compteur)
        continue
    print("confirme", compteur)
    serveur.sendto(b"Confirmation : " + message, adresse)
