# serveur UDP
import random
import socket

serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", 1234))
client = None
while True:
    message, adresse = serveur.recvfrom(2048)
    if client is None:
        client = adresse
        serveur.connect(client)
    if random.randint(0, 1) == 1:
        try:
            serveur.send(b"Confirmation : " + message)
        except OSError:
            pass
