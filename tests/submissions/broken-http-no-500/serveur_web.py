# Exercice 3 : serveur web multithread
import socket
import threading

PORT = 12345

PAGE = """<html>
<head><title>Mon serveur</title><meta charset="utf-8"></head>
<body><h1>Bonjour !</h1><p>Le serveur web fonctionne.</p></body>
</html>
"""


def traiter(requete):
    """Renvoie (code, texte) pour une requete."""
    premiere_ligne = requete.split("\r\n")[0]
    methode, chemin, version = premiere_ligne.split(" ")
    if methode != "GET" and methode != "HEAD":
        return "405 Method Not Allowed", "<h1>Methode non autorisee</h1>"
    if chemin == "/erreur":
        raise Exception("erreur volontaire")
    if chemin == "/" or chemin == "/index.html":
        return "200 OK", PAGE
    return "404 Not Found", "<h1>Page introuvable</h1>"


def servir(connexion, adresse):
    try:
        requete = b""
        while b"\r\n\r\n" not in requete and len(requete) < 20000:
            morceau = connexion.recv(1024)
            if not morceau:
                break
            requete = requete + morceau
        if requete:
            print(adresse, requete[:60])
            code, texte = traiter(requete.decode())
            corps = texte.encode("utf-8")
            entete = "HTTP/1.1 " + code + "\r\n"
            entete += "Content-Type: text/html; charset=utf-8\r\n"
            entete += "Content-Length: " + str(len(corps)) + "\r\n"
            entete += "Connection: close\r\n\r\n"
            connexion.sendall(entete.encode())
            if not requete.startswith(b"HEAD"):
                connexion.sendall(corps)
    except OSError as e:
        print("Connexion perdue :", e)
    finally:
        connexion.close()


ecoute = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
ecoute.bind(("", PORT))
ecoute.listen(100)
print("Serveur web sur http://localhost:" + str(PORT))
while True:
    connexion, adresse = ecoute.accept()
    threading.Thread(target=servir, args=(connexion, adresse), daemon=True).start()
