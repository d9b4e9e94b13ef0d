#!/usr/bin/env python3
"""Client d'horloge : une connexion par question, on lit jusqu'a la fin."""
import socket
import time

n = int(input("Nombre de questions : "))
for i in range(n):
    with socket.create_connection(("192.168.56.10", 2223)) as s:
        s.sendall(b"what time is it?\n")
        s.shutdown(socket.SHUT_WR)
        reponse = b""
        while True:
            octets = s.recv(16)
            if not octets:
                break
            reponse += octets
        maintenant = time.time_ns() // 1000
        ecart = int(reponse) - maintenant
        print("serveur :", int(reponse), "  ecart en microsecondes :", ecart)
input("Appuyez sur Entrée pour quitter...")
