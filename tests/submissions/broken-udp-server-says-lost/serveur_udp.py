# serveur UDP
import random
import socket

serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", 1234))
while True:
    message, adresse = serveur.recvfrom(2048)
    if random.random() < 0.5:
        serveur.sendto(b"Message perdu", adresse)
    else:
        serveur.sendto(b"Confirmation : " + message, adresse)
