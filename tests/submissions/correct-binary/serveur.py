#!/usr/bin/env python3
"""Les trois serveurs : serveur.py udp | horloge | web"""
import os
import select
import socket
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

ADRESSE = "192.168.56.10"


def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((ADRESSE, 2222))
    while True:
        pret, _, _ = select.select([s], [], [], 1.0)
        if not pret:
            continue
        datagramme, client = s.recvfrom(65535)
        if os.urandom(1)[0] >= 128:
            # confirmation : le meme datagramme, tronque s'il est trop long
            s.sendto(datagramme[:512], client)


def horloge_client(s):
    with s:
        recu = b""
        while True:
            try:
                octets = s.recv(64)
            except OSError:
                return
            if not octets:
                return
            recu += octets
            while b"\n" in recu:
                _, recu = recu.split(b"\n", 1)
                s.sendall(b"%d\n" % (time.time_ns() // 1000))  # microsecondes depuis 1970
            if len(recu) > 10000:
                return


def page(cible):
    url = urlsplit(cible)
    if url.path == "/":
        return "200 OK", "<h1>Calculatrice</h1><p>Essayez <a href='/division?par=3'>12 / 3</a></p>"
    if url.path == "/division":
        par = int(parse_qs(url.query)["par"][0])
        return "200 OK", "<p>12 / %d = %f</p>" % (par, 12 / par)
    return "404 Not Found", "<p>Il n'y a que la calculatrice.</p>"


def web_client(s):
    s.settimeout(45)
    with s:
        try:
            recu = b""
            while b"\r\n\r\n" not in recu:
                octets = s.recv(512)
                if not octets or len(recu) > 100_000:
                    break
                recu += octets
            if not recu:
                return
            try:
                methode, cible, _ = recu.decode("latin-1").split("\r\n")[0].split(" ", 2)
                statut, corps = page(cible)
            except Exception as e:
                statut, corps = "500 Internal Server Error", "<p>%s</p>" % type(e).__name__
            texte = corps.encode()
            s.sendall(
                b"HTTP/1.0 %s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s"
                % (statut.encode(), len(texte), texte)
            )
        except OSError:
            pass


def tcp(port, fonction):
    with socket.create_server((ADRESSE, port), backlog=50) as ecoute:
        while True:
            s, _ = ecoute.accept()
            threading.Thread(target=fonction, args=(s,), daemon=True).start()


if __name__ == "__main__":
    if sys.argv[1] == "udp":
        udp()
    elif sys.argv[1] == "horloge":
        tcp(2223, horloge_client)
    else:
        tcp(2224, web_client)
