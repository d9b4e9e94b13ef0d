"""lab.toml: what is right, what is refused and how, and what is recognised without one."""

import os
import shutil
from pathlib import Path

import pytest

from grading import GradingError, manifest

SUBMISSIONS = Path(__file__).resolve().parents[1] / "submissions"


def test_only_the_command_is_required() -> None:
    (program,) = manifest.parse('[udp-server]\ncommand = "python3 s.py"').programs.values()
    assert (program.name, program.port, program.image) == ("udp-server", 1234, "python")
    assert (program.stdin, program.requests, program.protocol) == ((), None, "")


def test_programs_come_in_the_order_of_the_exercises() -> None:
    text = '[http-server]\ncommand = "h"\n[udp-client]\ncommand = "c"\n'
    assert list(manifest.parse(text).programs) == ["udp-client", "http-server"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[udp-server", "not TOML"),
        ('[udp-serveur]\ncommand = "x"', "udp-serveur"),
        ('udp-server = "x"', "must be a table"),
        ("[udp-server]\nport = 1234", "no command"),
        ('[udp-server]\ncommand = " "', "no command"),
        ('[udp-server]\ncommand = "x"\nport = "1234"', "whole number"),
        ('[udp-server]\ncommand = "x"\nport = true', "whole number"),
        ('[udp-server]\ncommand = "x"\nport = 0', "from 1 to 65535"),
        ('[udp-server]\ncommand = "x"\nimage = "rust"', "python, c, java, go"),
        ('[udp-client]\ncommand = "x"\nrequests = 0', "from 1 to 1000"),
        ('[udp-client]\ncommand = "x"\nstdin = "10"', "list of lines"),
        ('[udp-client]\ncommand = "x"\nstdin = [10]', "list of lines"),
        ('[udp-client]\ncommand = "x"\naddress = "; reboot"', "address or a host name"),
        ('[clock-server]\ncommand = "x"\nprotocol = "sctp"', '"tcp" or "udp"'),
        ('[http-server]\ncommand = "x"\npage = "page.html"', 'must be a path, as in "/page.html"'),
        ('[http-server]\ncommand = "x"\npage = "/a page"', "must be a path"),
        ('[udp-server]\ncommand = "x"\nports = 1', "unknown; known are"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, says: str) -> None:
    with pytest.raises(GradingError, match=r"^here/lab\.toml: ") as told:
        manifest.parse(text, "here/lab.toml")
    assert says in str(told.value)


def test_a_link_is_not_read_as_the_manifest(tmp_path: Path) -> None:
    secret = tmp_path / "secret.toml"
    secret.write_text('[udp-server]\ncommand = "taken from elsewhere"')
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "lab.toml").symlink_to(secret)
    with pytest.raises(GradingError, match="no program in it was recognised"):
        manifest.load(folder)


def test_a_link_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(SUBMISSIONS / "correct-minimal")
    with pytest.raises(GradingError, match="symbolic link"):
        manifest.load(tmp_path / "link")


def test_a_pipe_in_the_folder_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lab.toml")
    os.mkfifo(tmp_path / "serveur.py")
    with pytest.raises(GradingError, match="recognised"):
        manifest.load(tmp_path)


def test_every_submission_of_the_corpus_has_a_manifest_that_is_right() -> None:
    folders = [path.parent for path in SUBMISSIONS.glob("*/lab.toml")]
    assert len(folders) > 60
    for folder in folders:
        assert manifest.load(folder).programs


@pytest.mark.parametrize(
    "name",
    [
        "correct-procedural",
        "correct-asyncio",
        "correct-minimal",
        "correct-c",
        "correct-go",
        "correct-java",
        "correct-classes",
    ],
)
def test_the_draft_recognises_programs_by_content_and_name(name: str, tmp_path: Path) -> None:
    real = manifest.load(SUBMISSIONS / name)
    folder = tmp_path / "handed-in"
    shutil.copytree(SUBMISSIONS / name, folder, symlinks=True)
    (folder / "lab.toml").unlink()
    drafted = manifest.load(folder)
    assert drafted.drafted
    assert list(drafted.programs) == list(real.programs)
    for program in drafted.programs.values():
        wanted = real.programs[program.name]
        assert (program.image, program.port) == (wanted.image, wanted.port)
        if program.image == "python" and "-m" not in wanted.command:
            assert program.command.split()[:2] == wanted.command.split()[:2]


UDP = "s = socket(AF_INET, SOCK_DGRAM)\n"
TCP = "s = socket(AF_INET, SOCK_STREAM)\n"
BOUND = "s.bind(('', 1234))\n"


@pytest.mark.parametrize(
    ("files", "program", "command"),
    [
        # What stands beside it is an exercise before or after.
        (
            {
                "a_serveur.py": UDP + BOUND + "s.sendto(m.upper(), a)",
                "b_serveur.py": UDP + BOUND + "if randint(0, 1): s.sendto(m.upper(), a)",
                "c_serveur.py": UDP + BOUND + "fichier = open(m); random.choice(fichier)",
            },
            "udp-server",
            "python3 b_serveur.py",
        ),
        (
            {
                "clientUDP.py": UDP + "s.sendto(input('message'), a); print(s.recv(100))",
                "clientUDPping.py": UDP + "RTT = t1 - t0 # ping",
                "clientUDPpingRetry.py": UDP + "s.settimeout(1); RTT = t1 - t0 # ping",
                "ex4clientUDP.py": UDP + "open(filename); s.settimeout(1)",
            },
            "udp-client",
            "python3 clientUDPpingRetry.py",
        ),
        # A clock that is not called one, and a question that looks like HTTP.
        (
            {"serverTCP.py": TCP + BOUND + "print(datetime.now()); c.send(str(time.time()))"},
            "clock-server",
            "python3 serverTCP.py",
        ),
        (
            {"clientTCP.py": TCP + "s.send('GET heure'); print('Difference', time.time() - t)"},
            "clock-client",
            "python3 clientTCP.py",
        ),
        # Over UDP; a ping that tells the time of day is none.
        (
            {"Server2.py": UDP + BOUND + "if m == 'get_time': s.sendto(ctime(), a)"},
            "clock-server",
            "python3 Server2.py",
        ),
        (
            {"p.py": UDP + "s.settimeout(1); s.sendto('Ping %d %s' % (n, ctime()), a); rtt = 1"},
            "udp-client",
            "python3 p.py",
        ),
        (
            {"serverHTTP.py": TCP + BOUND + "if 'GET' not in r: c.send('Erreur 400')"},
            "http-server",
            "python3 serverHTTP.py",
        ),
        # What it opens lies beside it, unless it says where.
        (
            {"TP 1/web.py": TCP + BOUND + "open('index.html') # HTTP/1.1"},
            "http-server",
            "cd 'TP 1' && python3 web.py",
        ),
        (
            {"ex3/web.py": TCP + BOUND + "open('ex3/index.html') # HTTP/1.1"},
            "http-server",
            "python3 ex3/web.py",
        ),
        (
            {"lab/__init__.py": "", "lab/web.py": TCP + BOUND + "# HTTP/1.1"},
            "http-server",
            "python3 -m lab.web",
        ),
    ],
)
def test_the_draft_takes_what_was_asked_for_of_what_there_is(
    files: dict[str, str], program: str, command: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (found,) = manifest.load(tmp_path).programs.values()
    assert (found.name, found.command) == (program, command)


@pytest.mark.parametrize(
    "text", ["print('hello')", TCP + "s.send(b'hello')", TCP + "s.send('GET / HTTP/1.1')"]
)
def test_what_is_none_of_the_five_is_not_taken_for_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(text)
    with pytest.raises(GradingError, match="recognised"):
        manifest.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "command", "stdin", "requests"),
    [
        ("client.py", "host = sys.argv[1]; settimeout", "127.0.0.1", (), None),
        ("client.py", "host, port = sys.argv[1], int(sys.argv[2])", "127.0.0.1 1234", (), None),
        ("client.py", "n = int(sys.argv[1])", "10", (), 10),
        ("client.py", "s.connect((sys.argv[1], int(sys.argv[2])))", "127.0.0.1 1234", (), None),
        ("server.py", BOUND + "s.bind(('', int(sys.argv[1])))", "1234", (), None),
        ("server.py", BOUND + "print(len(sys.argv))", "", (), None),
        ("client.py", "p.add_argument('host'); p.add_argument('--port')", "127.0.0.1", (), None),
        ("client.py", "n = int(input('Combien ? '))", "", ("10",), 10),
        ("client.py", "input('IP address: '); input('port')", "", ("127.0.0.1", "1234"), None),
        ("client.py", "input(); input('How many pings?')", "", ("hello", "10"), 10),
        (
            "client.py",
            "def ask(what, default):\n    return input(what) or default\n"
            "host = ask('Adresse ?', 'localhost')\nn = int(ask('Combien ?', 6))",
            "",
            ("127.0.0.1", "10"),
            10,
        ),
        ("client.py", "if not sys.argv[1].isdigit(): exit()\nn = int(sys.argv[1])", "10", (), 10),
        ("client.py", "args = sys.argv[1:]\nn = int(args[0])", "10", (), 10),
        (
            "client.py",
            "n = int(sys.argv[1]) if len(sys.argv) > 1 else int(input('Combien ? '))",
            "10",
            (),
            10,
        ),
    ],
)
def test_the_draft_says_what_to_start_a_program_with_and_what_to_type(
    name: str, text: str, command: str, stdin: tuple[str, ...], requests: int | None, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(UDP + text)
    (found,) = manifest.load(tmp_path).programs.values()
    assert found.command == f"python3 {name} {command}".strip()
    assert (found.stdin, found.requests) == (stdin, requests)


@pytest.mark.parametrize(
    ("name", "text", "command", "port", "stdin"),
    [
        (
            "Client.java",
            "DatagramSocket s; Scanner keys = new Scanner(System.in); ping(s);\n"
            'System.out.print("Nombre de pings : "); int n = keys.nextInt();',
            "java -cp . Client",
            1234,
            ("10",),
        ),
        (  # what is read from the socket is nobody's to type
            "Client.java",
            "DatagramSocket s; BufferedReader in = new BufferedReader(peer); ping(s);\n"
            'System.out.print("Requete numero "); in.readLine();',
            "java -cp . Client",
            1234,
            (),
        ),
        (
            "client.c",
            'socket(AF_INET, SOCK_DGRAM, 0); /* ping */ printf("Combien ? "); scanf("%d", &n);',
            "./client",
            1234,
            ("10",),
        ),
        (
            "client.go",
            'net.Dial("udp", "127.0.0.1:7001") // ping\nn, _ := strconv.Atoi(flag.Arg(0))',
            "./client-program 10",
            7001,
            (),
        ),
        (
            "client.py",
            UDP + "# ping\nport = int(sys.argv[1]) if len(sys.argv) > 1 else 7001",
            "python3 client.py 7001",
            7001,
            (),
        ),
    ],
)
def test_the_draft_reads_what_each_language_asks_of_its_user(
    name: str, text: str, command: str, port: int, stdin: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    (found,) = manifest.load(tmp_path).programs.values()
    assert (found.command, found.port, found.stdin) == (command, port, stdin)


def test_the_draft_knows_a_program_that_is_all_five(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("")
    (tmp_path / "lab" / "ping.py").write_text(UDP + BOUND + "class Ping:\n    random = 1\n")
    (tmp_path / "main.py").write_text(
        "import argparse\nsub = argparse.ArgumentParser().add_subparsers()\n"
        "for name in ('udp-server', 'udp_client', 'horloge-serveur', 'clock-client', 'web'):\n"
        "    sub.add_parser(name)\n"
    )
    commands = {p.name: p.command for p in manifest.load(tmp_path).programs.values()}
    assert commands == {
        "udp-server": "python3 main.py udp-server",
        "udp-client": "python3 main.py udp_client",
        "clock-server": "python3 main.py horloge-serveur",
        "clock-client": "python3 main.py clock-client",
        "http-server": "python3 main.py web",
    }


@pytest.mark.parametrize(
    ("last", "is_program"), [("", False), ("serve()\n", True), ("ended = serve()\n", True)]
)
def test_what_only_defines_is_no_program(last: str, is_program: bool, tmp_path: Path) -> None:
    (tmp_path / "udp_server.py").write_text(
        '"""A server."""\nfrom socket import *\nPORT = int("1234")\ndef serve():\n'
        f"    s = socket(AF_INET, SOCK_DGRAM); s.bind(('', PORT)); random()\n{last}"
    )
    if is_program:
        (found,) = manifest.load(tmp_path).programs.values()
        assert found.command == "python3 udp_server.py"
    else:
        with pytest.raises(GradingError, match="recognised"):
            manifest.load(tmp_path)
