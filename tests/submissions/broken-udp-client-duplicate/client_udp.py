import socket
import time

nb = int(input("Combien de requetes ? "))
texte = input("Quel message ? ")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
total = 0
recus = 0
for i in range(nb):
    timeout = 0.5
    while timeout < 20:
        t1 = time.time()
        s.sendto((texte + " " + str(i)).encode(), ("localhost", 1234))
        s.settimeout(timeout)
        try:
            reponse, _ = s.recvfrom(1024)
        except socket.timeout:
            print("timeout", timeout, "s")
            timeout *= 2
            continue
        t2 = time.time()
        print(reponse.decode(), "RTT", t2 - t1)
        total += t2 - t1
        recus += 1
        break
if recus:
    print("RTT moyen", total / recus)
