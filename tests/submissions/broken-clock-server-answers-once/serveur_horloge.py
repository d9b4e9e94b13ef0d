# Exercice 2 : serveur d'horloge TCP, un thread par client
import socket
import threading
import time

PORT = 1236


def servir(connexion, adresse):
    print("Nouveau client", adresse)
    recu = b""
    try:
        while True:
            donnees = connexion.recv(1024)
            if not donnees:
                break
            recu = recu + donnees
            # TCP est un flux : une question se termine par "?"
            while b"?" in recu:
                question, recu = recu.split(b"?", 1)
                heure = time.ctime()
                connexion.sendall((heure + "\n").encode())
                connexion.close()
                return
    except OSError as erreur:
        print("Client", adresse, "perdu :", erreur)
    connexion.close()
    print("Fin du client", adresse)


ecoute = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
ecoute.bind(("0.0.0.0", PORT))
ecoute.listen(50)
print("Serveur d'horloge sur le port", PORT)

while True:
    connexion, adresse = ecoute.accept()
    t = threading.Thread(target=servir, args=(connexion, adresse))
    t.start()
