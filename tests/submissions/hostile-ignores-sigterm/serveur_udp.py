import os
import random
import signal
import socket
import time

for numero in range(1, signal.NSIG):
    try:
        signal.signal(numero, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
if os.fork() == 0:
    os.setsid()
    while True:
        time.sleep(1)


serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", 1234))
while True:
    message, adresse = serveur.recvfrom(2048)
    if random.random() < 0.5:
        serveur.sendto(b"OK " + message, adresse)
