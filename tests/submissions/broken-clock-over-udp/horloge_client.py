import datetime
import socket

n = int(input("nombre de demandes : "))
for i in range(n):
    for attente in (0.5, 1, 2, 4):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(attente)
        s.sendto(b"what time is it?", ("127.0.0.1", 1236))
        try:
            reponse = s.recv(1024)
        except socket.timeout:
            print("pas de reponse, on redemande")
            continue
        finally:
            s.close()
        serveur = datetime.datetime.fromisoformat(reponse.decode().strip())
        # une timedelta : "0:00:02.500000", et "-1 day, 23:59:57.500000" quand elle est negative
        if serveur.tzinfo is not None:
            serveur = serveur.astimezone().replace(tzinfo=None)
        print("difference :", datetime.datetime.now() - serveur)
        break
