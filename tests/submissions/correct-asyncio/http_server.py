import asyncio

PAGE = b"<!doctype html><title>asyncio</title><p>Cette page vient d'un serveur asyncio.</p>"


def reponse(statut, corps):
    return (
        f"HTTP/1.1 {statut}\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(corps)}\r\n\r\n"
    ).encode() + corps


def repondre(tete):
    ligne = tete.split(b"\r\n", 1)[0].split()
    if len(ligne) != 3 or not ligne[2].startswith(b"HTTP/1."):
        return reponse("400 Bad Request", b"requete incomprehensible")
    if ligne[1] == b"/boom":
        raise RuntimeError("boom")
    if ligne[0] not in (b"GET", b"HEAD"):
        return reponse("501 Not Implemented", b"GET seulement")
    statut, corps = ("200 OK", PAGE) if ligne[1] == b"/" else ("404 Not Found", b"rien ici")
    complete = reponse(statut, corps)
    return complete[: len(complete) - len(corps)] if ligne[0] == b"HEAD" else complete


async def client(reader, writer):
    # connexion persistante : plusieurs requetes de suite
    try:
        while True:
            tete = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            try:
                octets = repondre(tete)
            except Exception as erreur:
                print("erreur:", erreur, flush=True)
                octets = reponse("500 Internal Server Error", b"erreur interne")
            writer.write(octets)
            await writer.drain()
            if b"connection: close" in tete.lower() or octets.startswith(b"HTTP/1.1 400"):
                break
    except asyncio.LimitOverrunError:
        writer.write(reponse("431 Request Header Fields Too Large", b""))
    except (asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    serveur = await asyncio.start_server(client, "0.0.0.0", 12345)
    async with serveur:
        await serveur.serve_forever()


asyncio.run(main())
