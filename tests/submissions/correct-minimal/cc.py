import time
from socket import *

s = create_connection(("127.0.0.1", 1236))
f = s.makefile("rw")
for i in range(3):
    f.write("what time is it?\n")
    f.flush()
    t = f.readline().strip()
    print(t, "difference:", round(time.time() - time.mktime(time.strptime(t)), 1))
