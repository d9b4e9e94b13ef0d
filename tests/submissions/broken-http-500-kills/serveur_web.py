# Exercice 3 : serveur web
import selectors
import socket

PAGE = "<html><body><h1>Bonjour !</h1><p>Le serveur web fonctionne.</p></body></html>"


def traiter(requete):
    methode, chemin, version = requete.split("\r\n")[0].split(" ")
    if chemin == "/erreur":
        raise ValueError("erreur volontaire")
    if chemin == "/":
        return "200 OK", PAGE
    return "404 Not Found", "<h1>Page introuvable</h1>"


def envoyer(c, code, texte):
    corps = texte.encode()
    tete = "HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    c.sendall((tete % (code, len(corps))).encode() + corps)


ecoute = socket.create_server(("", 12345), backlog=50)
selecteur = selectors.DefaultSelector()
selecteur.register(ecoute, selectors.EVENT_READ)
requetes = {}
while True:
    for cle, _ in selecteur.select():
        if cle.fileobj is ecoute:
            c, _ = ecoute.accept()
            requetes[c] = b""
            selecteur.register(c, selectors.EVENT_READ)
            continue
        c = cle.fileobj
        try:
            morceau = c.recv(4096)
        except OSError:
            morceau = b""
        requetes[c] += morceau
        if morceau and b"\r\n\r\n" not in requetes[c]:
            continue
        selecteur.unregister(c)
        requete = requetes.pop(c)
        try:
            if requete.isascii() and requete.split(b"\r\n")[0].count(b" ") == 2:
                envoyer(c, *traiter(requete.decode()))
            elif requete:
                envoyer(c, "400 Bad Request", "requete illisible")
        except OSError:
            pass
        except Exception:
            envoyer(c, "500 Internal Server Error", "erreur")
            c.close()
            raise
        c.close()
