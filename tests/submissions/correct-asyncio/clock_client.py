import asyncio
import sys
import time


async def main():
    reader, writer = await asyncio.open_connection("127.0.0.1", 1236)
    for i in range(int(sys.argv[1])):
        t0 = time.time()
        writer.write(b"what time is it?\n")
        await writer.drain()
        reponse = (await reader.readline()).decode()
        t1 = time.time()
        if not reponse:
            print("connexion fermee par le serveur")
            return
        ecart = float(reponse) - (t0 + t1) / 2
        print(f"{i + 1}: heure du serveur {reponse.strip()}, ecart {ecart:.6f} s")
    writer.close()


asyncio.run(main())
