# Each ping is sent until it is answered; the server’s answer is the same in upper case
from socket import *
from time import perf_counter

serverName = '127.0.0.1'
serverPort = 1234
clientSocket = socket(AF_INET, SOCK_DGRAM)
rtts = []
for i in range(8):
    message = 'ping ' + str(i)
    wait = 0.2
    answer = ''
    while answer == '' and wait < 30:
        attempt = message + ' try ' + str(wait)
        t0 = perf_counter()
        clientSocket.sendto(attempt.encode(), (serverName, serverPort))
        end = t0 + wait
        try:
            while answer != attempt.upper():
                clientSocket.settimeout(max(end - perf_counter(), 0.001))
                data, serverAddress = clientSocket.recvfrom(2048)
                t1 = perf_counter()
                answer = data.decode()
            rtts.append(t1 - t0)
            print('“' + message + '” → ' + str((t1 - t0) * 1000) + ' ms')
        except timeout:
            answer = ''
            wait = wait * 2
            print('“' + message + '” → … no answer, I’ll try again')
if rtts:
    print('Average RTT → ' + str(sum(rtts) / len(rtts) * 1000) + ' ms')
clientSocket.close()
