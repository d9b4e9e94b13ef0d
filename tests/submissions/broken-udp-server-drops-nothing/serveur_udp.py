# serveur UDP
import socket

serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", 1234))
while True:
    message, adresse = serveur.recvfrom(2048)
    print("Recu de", adresse)
    serveur.sendto(b"Confirmation : " + message, adresse)
