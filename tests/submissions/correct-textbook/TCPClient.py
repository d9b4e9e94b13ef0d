# Asks five times, over one connection, by how much the two clocks differ
from socket import *
import time

serverName = '127.0.0.1'
serverPort = 1236
clientSocket = socket(AF_INET, SOCK_STREAM)
clientSocket.connect((serverName, serverPort))
answers = clientSocket.makefile('r')
for i in range(5):
    clientSocket.send('GET TIME\n'.encode())
    serverTime = float(answers.readline())
    print('clock difference → ' + str(serverTime - time.time()) + ' s')
clientSocket.close()
