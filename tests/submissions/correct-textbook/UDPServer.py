# UDP ping server, after the textbook: answers in upper case, forgets half of the messages
from socket import *
from random import randint

serverPort = 1234
serverSocket = socket(AF_INET, SOCK_DGRAM)
serverSocket.bind(('', serverPort))
print('The server is ready to receive')
while True:
    message, clientAddress = serverSocket.recvfrom(65535)
    if randint(0, 1):
        print('✗ forgotten, on purpose')
        continue
    serverSocket.sendto(message.upper(), clientAddress)
    print('✓ answered', clientAddress)
