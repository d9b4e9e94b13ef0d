# Exercice 2 : client d'horloge, affiche la difference entre les deux horloges
import socket
import time

HOTE = "localhost"
PORT = 1236

n = int(input("Combien de fois demander l'heure ? "))

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect((HOTE, PORT))
recu = b""

for i in range(n):
    s.sendall(b"what time is it?\n")
    # la reponse peut arriver en plusieurs morceaux : on attend la fin de ligne
    while b"\n" not in recu:
        morceau = s.recv(100)
        if morceau == b"":
            print("Le serveur a ferme la connexion")
            exit(1)
        recu += morceau
    ligne, recu = recu.split(b"\n", 1)
    ici = time.time()
    heure = ligne.decode().strip()
    print("Heure du serveur :", heure)
    la_bas = time.mktime(time.strptime(heure))
    # le serveur ne donne que les secondes
    print("Difference :", int(ici) - int(la_bas), "s")
    time.sleep(0.2)

s.close()
print("Termine")
