import socket
import time

nb = int(input("Combien de requetes ? "))
texte = input("Quel message ? ")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
rtts = []
for i in range(nb):
    t1 = time.time()
    s.sendto((texte + " " + str(i)).encode(), ("localhost", 1234))
    reponse, _ = s.recvfrom(1024)
    rtts.append(time.time() - t1)
    print(reponse.decode(), "RTT =", rtts[-1], "s")
print("RTT moyen =", sum(rtts) / len(rtts), "s")
