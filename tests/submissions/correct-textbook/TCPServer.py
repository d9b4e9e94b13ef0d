# Time server, after the textbook, with one thread for each client
from socket import *
from threading import Thread
import time


def serve(connectionSocket):
    try:
        questions = connectionSocket.makefile('r')
        for question in questions:
            if question == 'GET TIME\n':
                answer = str(time.time())
                connectionSocket.send((answer + '\n').encode())
            else:
                connectionSocket.send('BAD REQUEST\n'.encode())
    except OSError:
        pass
    except UnicodeDecodeError:
        pass
    connectionSocket.close()


serverPort = 1236
serverSocket = socket(AF_INET, SOCK_STREAM)
serverSocket.bind(('', serverPort))
serverSocket.listen(100)
print('The server is ready to receive')
while True:
    connectionSocket, addr = serverSocket.accept()
    Thread(target=serve, args=[connectionSocket]).start()
