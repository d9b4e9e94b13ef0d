import asyncio
import secrets


class Serveur(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        print("pret", flush=True)

    def datagram_received(self, data, addr):
        if secrets.randbits(1):
            print(f"{addr}: {len(data)} octets, oublies", flush=True)
            return
        print(f"{addr}: {len(data)} octets, confirmes", flush=True)
        self.transport.sendto(data[:1000], addr)  # echo

    def error_received(self, exc):
        print("erreur reseau:", exc, flush=True)


async def main():
    boucle = asyncio.get_running_loop()
    await boucle.create_datagram_endpoint(Serveur, local_addr=("0.0.0.0", 1234))
    await asyncio.Event().wait()


asyncio.run(main())
