#!/usr/bin/env python3
"""Client UDP : des datagrammes (numero, essai, heure d'envoi) sur 16 octets."""
import socket
import struct
import time

SERVEUR = ("192.168.56.10", 2222)
FORMAT = "!IId"


def virgule(x):
    return ("%.1f" % x).replace(".", ",")


n = int(input("Nombre de paquets : "))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mesures = []
for numero in range(n):
    for essai in range(9):
        attente = 0.25 * (1 + essai)
        envoi = time.time()
        s.sendto(struct.pack(FORMAT, numero, essai, envoi), SERVEUR)
        rtt = None
        while rtt is None:
            reste = envoi + attente - time.time()
            if reste <= 0:
                break
            s.settimeout(reste)
            try:
                reponse = s.recv(1024)
            except OSError:
                break
            recu = time.time()
            if len(reponse) != struct.calcsize(FORMAT):
                continue
            qui, lequel, quand = struct.unpack(FORMAT, reponse)
            if qui == numero:
                # l'heure d'envoi revient dans la reponse : on sait de quel essai elle parle
                rtt = recu - quand
        if rtt is not None:
            mesures.append(rtt * 1e6)
            print("paquet", numero, "essai", lequel, ": RTT", virgule(rtt * 1e6), "µs")
            break
        print("paquet", numero, "essai", essai, ": rien en", virgule(attente * 1000), "ms")
    else:
        print("paquet", numero, "perdu")

if mesures:
    print("RTT moyen :", virgule(sum(mesures) / len(mesures)), "µs")
input("Appuyez sur Entrée pour quitter...")
