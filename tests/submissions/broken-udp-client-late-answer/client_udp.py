# Exercice 1 : client UDP, renvoie le message tant qu'il n'est pas confirme
import select
import socket
import time

HOTE = "localhost"
PORT = 1234
ESSAIS_MAX = 6

nb = int(input("Combien de requetes ? "))
texte = input("Quel message ? ")

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
liste_rtt = []

for i in range(1, nb + 1):
    message = texte + " numero " + str(i) + "."
    # vider la socket
    while select.select([client], [], [], 0)[0]:
        client.recvfrom(2048)
    delai = 0.5
    confirme = False
    for essai in range(1, ESSAIS_MAX + 1):
        print("Envoi de la requete", i, "essai", essai, "attente max", delai, "s")
        depart = time.time()
        client.sendto(message.encode(), (HOTE, PORT))
        limite = depart + delai
        while not confirme:
            reste = limite - time.time()
            if reste <= 0:
                break
            client.settimeout(reste)
            try:
                reponse, adresse = client.recvfrom(2048)
            except socket.timeout:
                break
            arrivee = time.time()
            confirme = True
        if confirme:
            rtt = arrivee - depart
            liste_rtt.append(rtt)
            print("Requete", i, "confirmee, RTT =", rtt, "s")
            break
        print("Pas de reponse")
        delai = delai * 2
    if not confirme:
        print("Requete", i, "abandonnee apres", ESSAIS_MAX, "essais")

client.close()
print()
if len(liste_rtt) > 0:
    print("RTT moyen :", sum(liste_rtt) / len(liste_rtt), "s sur", len(liste_rtt), "requetes")
else:
    print("Aucune reponse du serveur")
