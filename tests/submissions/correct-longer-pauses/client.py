import socket
import time

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", 1234))
round_trips = []
pause = 0.08
for number in range(7):
    message = f"request {number}".encode()
    timeout = 0.25
    for attempt in range(12):
        begin = time.monotonic()
        client.send(message)
        client.settimeout(timeout)
        try:
            while client.recv(65535) != message:
                client.settimeout(max(0.001, begin + timeout - time.monotonic()))
        except TimeoutError:
            timeout *= 1.6
            continue
        round_trips.append(time.monotonic() - begin)
        print(f"request {number}: {round_trips[-1] * 1000:.3f} ms")
        break
    time.sleep(pause)
    pause *= 1.5
print(f"mean {sum(round_trips) / len(round_trips) * 1000:.3f} ms")
