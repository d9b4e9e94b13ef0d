import asyncio
import itertools
import sys
import time


class Client(asyncio.DatagramProtocol):
    def __init__(self):
        self.en_attente = {}  # identifiant -> future

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        arrivee = time.monotonic_ns()
        for identifiant, future in self.en_attente.items():
            if identifiant in data and not future.done():
                future.set_result(arrivee)

    def error_received(self, exc):
        pass  # port injoignable : le delai s'en charge


async def requete(client, numero, identifiants):
    delai = 0.3
    for essai in range(1, 9):
        identifiant = b"<%06d>" % next(identifiants)
        future = asyncio.get_running_loop().create_future()
        client.en_attente = {identifiant: future}
        depart = time.monotonic_ns()
        client.transport.sendto(b"ping " + identifiant)
        try:
            arrivee = await asyncio.wait_for(future, delai)
        except asyncio.TimeoutError:
            print(f"requete {numero}, essai {essai}: rien apres {delai:.1f} s")
            delai += 0.3
            continue
        return (arrivee - depart) / 1000
    return None


async def main():
    nombre = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    boucle = asyncio.get_running_loop()
    _, client = await boucle.create_datagram_endpoint(Client, remote_addr=("127.0.0.1", 1234))
    identifiants = itertools.count(1)
    rtt = []
    for numero in range(1, nombre + 1):
        us = await requete(client, numero, identifiants)
        if us is None:
            print(f"requete {numero}: abandon")
        else:
            rtt.append(us)
            print(f"requete {numero}: RTT {us:.0f} us")
    if rtt:
        print(f"moyenne: {sum(rtt) / len(rtt):.0f} us")


asyncio.run(main())
