import asyncio
import time


async def client(reader, writer):
    try:
        while True:
            await reader.readuntil(b"?")
            writer.write(f"{time.time():.6f}\n".encode())
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    serveur = await asyncio.start_server(client, "0.0.0.0", 1236)
    async with serveur:
        await serveur.serve_forever()


asyncio.run(main())
