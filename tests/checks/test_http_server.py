"""HTTP server: the page for a browser and for curl, to many at once, whatever is sent."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from weakref import WeakKeyDictionary

from grading import GradingError
from grading.arena import Arena
from grading.peer.http_client import Answer, parse
from grading.sources import sources
from grading.verdict import Judge
from tests.checks.servers import (
    Events,
    Place,
    ending,
    heard,
    new_program_after_a_failure,
    quoted,
    reached,
    show,
)

__all__ = ["new_program_after_a_failure"]

PROGRAM = "http-server"
CLIENTS = 8
WAIT_S = 5.0
CURL_TIMEOUT_S = 4
PATIENT_S = 2.5
"""How long an answer may pause until it is taken to have no end."""

NOT_FOUND_STATUSES = (126, 127)

BROWSER_FIELDS = (
    "Connection: keep-alive\r\n"
    'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"\r\n'
    "sec-ch-ua-mobile: ?0\r\n"
    'sec-ch-ua-platform: "Linux"\r\n'
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/130.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "*/*;q=0.8\r\n"
    "Sec-Fetch-Site: none\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: fr-FR,fr;q=0.9,en;q=0.8\r\n"
)
"""What Chromium sends; together with the rest less than 1,024 bytes."""

PIECES = ("GE", "T / HT", "TP/1.1\r\nHost: loc", "alhost\r\nConnection: close\r\n", "\r\n")

LIKELY_TRIGGERS = (
    "/fail", "/error", "/erreur", "/boom", "/crash", "/500", "/exception", "/bug", "/panic",
    "/boum", "/raise", "/divide?by=0", "/division?par=0", "/error500", "/internal-error",
)  # fmt: skip
"""Paths under which people put an error on purpose."""

STIMULI = (
    *LIKELY_TRIGGERS,
    "/%00",
    "/%ff%fe",
    "/.",
    "/" + "a" * 300,
    "/index.html/",
)
"""Requests that are well formed, at which a careless handler stumbles."""

BROKEN_REQUEST_LINES = (
    "GET /% HTTP/1.1",
    "GET /\xe9 HTTP/1.1",
    "GET /a b HTTP/1.1",
    "GET /",
    "GET",
    "G\xff\xfe / HTTP/1.1",
    "GET / HTTP/x.y",
)

ERROR_PAGE = re.compile(rb"internal (?:server )?error|erreur interne", re.IGNORECASE)
"""What a page says that is to be a 500."""

GARBAGE = (
    "\r\n\r\n",
    "\x00" * 100,
    "hello\n",
    "GET\r\n\r\n",
    "\xff\xfe\xfd\xfc\x80\x81\r\n\r\n",
    # The first bytes of a browser that was told https://
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\xa7" * 60,
    "".join(map(chr, range(256))) * 4,
    "GET / HTTP/1.1\r\n" + "X: " + "y" * 70_000,
    "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "GET / HTTP/1.1\r\nContent-Length: many\r\nno colon here\r\n\r\n",
)

UP = 8
OUTSIDE = {"etc/passwd": b"root:x:0:0", "proc/version": b"Linux version"}
"""Files of the sandbox, outside of the submission's folder, and how they begin."""

TRAVERSALS = (
    "/" + "../" * UP + "{0}",
    "/index.html/" + "../" * UP + "{0}",
    "/" + "%2e%2e/" * UP + "{0}",
    "/" + "..%2f" * UP + "{0}",
    "/" + "%252e%252e/" * UP + "{0}",
    "/" + "....//" * UP + "{0}",
    "/" + "..\\" * UP + "{0}",
    "/{0}",
    "//{0}",
    "///{0}",
    "/%2f{0}",
    "../" * UP + "{0}",
    "file:///{0}",
    "/?file=" + "../" * UP + "{0}",
)

REDIRECTIONS = (301, 302, 303, 307, 308)

MOST_PAGES = 12
"""How many paths are tried where there is no page at "/"."""

_pages: WeakKeyDictionary[Arena, str] = WeakKeyDictionary()
_usual: WeakKeyDictionary[Arena, Answer] = WeakKeyDictionary()


def request(target: str, fields: str = "Connection: close\r\n", method: str = "GET") -> str:
    """Return a request, as latin-1."""
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"


def ask(name: str, sent: str, wait_s: float = WAIT_S, **more: Any) -> list[dict[str, Any]]:
    """Return the steps of one request over a connection that is open."""
    return [
        {"do": "send", "as": name, "data": sent},
        {"do": "hear", "as": name, "wait_s": wait_s, **more},
    ]


def visit(name: str, sent: str, wait_s: float = WAIT_S) -> list[dict[str, Any]]:
    """Return the steps of one request over a connection of its own."""
    return [{"do": "open", "as": name}, *ask(name, sent, wait_s), {"do": "close", "as": name}]


def talk(arena: Arena, judge: Judge, place: Place, steps: list[dict[str, Any]]) -> Events:
    """Carry out the steps and return what happened."""
    events = arena.ask("http_client", {"host": place.host, "port": place.port, "steps": steps})
    show(judge, events)
    return events


def said(events: Events, name: str) -> bytes:
    """Return all bytes that came over one connection."""
    return "".join(event["data"] for event in heard(events, name)).encode("latin-1")


def first_line(data: bytes) -> str:
    """Return how an answer begins, in quotes."""
    return quoted(data.split(b"\n")[0].strip().decode("latin-1")) if data else "nothing"


def served(arena: Arena, judge: Judge) -> tuple[Place, str]:
    """Return where the server listens, and the path of its page: "/", or what lab.toml says.

    A server that has an error at "/", as one that sends the file that is named, may have its page
    under the name of one of its HTML files.
    """
    place = reached(arena, judge)
    if arena not in _pages:
        _pages[arena] = arena.program.page or page_of(arena, place)
        if not arena.program.page:
            arena.end()  # the checks begin with a program that nobody has asked before
            place = reached(arena, judge)
    page = _pages[arena]
    judge.step(f"the server listens at {place}")
    if page != "/" and not arena.program.page:
        judge.step(f'at "/" it has an error; its page is at {page}')
    return place, page


def page_of(arena: Arena, place: Place) -> str:
    """Return the first path that has a page, or "/"."""

    def answer(target: str) -> Answer:
        steps = visit(target, request(target))
        return parse(
            said(
                arena.ask("http_client", {"host": place.host, "port": place.port, "steps": steps}),
                target,
            )
        )

    if answer("/").status >= 400:
        for target in possible_pages(arena.submission.folder):
            found = answer(target)
            if found.status == 200 and found.body:
                return target
    return "/"


def possible_pages(folder: Path) -> list[str]:
    """Return the paths under which a server that sends files may have its page."""
    files = [path.relative_to(folder) for path in sources(folder)]
    pages = [path for path in files if path.suffix.lower() in (".html", ".htm")]
    names = [quote(f"/{name}") for path in pages for name in (path.name, path.as_posix())]
    return list(dict.fromkeys(["/index.html", *names]))[:MOST_PAGES]


def usual(arena: Arena, judge: Judge, place: Place, page: str) -> Answer:
    """Return what the server answers to a request for its page, when nothing else happens."""
    if arena not in _usual:
        _usual[arena] = parse(
            said(talk(arena, judge, place, visit("usual", request(page))), "usual")
        )
    return _usual[arena]


def still_serves(arena: Arena, judge: Judge, place: Place, page: str, after: str) -> None:
    """Fail unless the page is answered as it was before."""
    before = usual(arena, judge, place, page)
    data = said(talk(arena, judge, place, visit("afterwards", request(page))), "afterwards")
    judge.step("then asked for the page again")
    if not data or parse(data).status != before.status:
        judge.fail(
            expected="one request, whatever is in it, never ends the service for the others",
            observed=f"after {after} the page was not answered any more, but {first_line(data)};"
            f" {ending(arena)}",
            hint="catch the errors of one connection in its own thread, and go on accepting",
        )


def test_gives_the_page(arena: Arena, judge: Judge) -> None:
    place, target = served(arena, judge)
    for _ in range(4):
        events = talk(arena, judge, place, visit("browser", request(target, BROWSER_FIELDS)))
        judge.step(f"asked for {target} with the request of a browser")
        data = said(events, "browser")
        answer = parse(data)
        if answer.status not in REDIRECTIONS:
            break
        target = urlsplit(answer.fields.get("location", "/")).path or "/"
    judge.measured(status=answer.status, body_bytes=len(answer.body))
    expected = 'a status line "HTTP/1.1 200 OK", fields, an empty line, and the page'
    if not data:
        judge.fail(
            expected=expected,
            observed=f"no answer came; {ending(arena)}",
            hint="read up to the empty line that ends the request, then send the answer",
        )
    if not answer.status:
        judge.fail(
            expected=expected,
            observed=f"the answer begins with {first_line(data)}, which is no status line",
            hint='send "HTTP/1.1 200 OK\\r\\nContent-Length: ...\\r\\n\\r\\n" before the page',
        )
    if answer.status != 200:
        judge.fail(
            expected=expected,
            observed=f"the answer is {first_line(data)}",
            hint='"/" is what a browser asks for when no page is named; lab.toml can name another:'
            ' page = "/accueil.html"',
        )
    if not answer.head_ended or not answer.body:
        judge.fail(
            expected=expected,
            observed="status and fields came, and then no page",
            hint="after the fields an empty line (\\r\\n), and then the bytes of the page",
        )


def test_curl_gets_the_page(arena: Arena, judge: Judge) -> None:
    place, page = served(arena, judge)
    url = f"http://{place.host}:{place.port}{page}"
    status, told = arena.execute(
        *("curl", "--silent", "--show-error", "--stderr", "-", "--location", "--max-redirs", "3"),
        *("--max-time", str(CURL_TIMEOUT_S), "--output", "/tmp/page"),
        *("--write-out", r"\n%{http_code} %{size_download} bytes\n", url),
    )
    judge.step(f"ran: curl {url}")
    if status in NOT_FOUND_STATUSES:
        raise GradingError(f"curl cannot be run here: {told.strip()[-300:]}")
    counted = re.search(r"^(\d{3}) (\d+) bytes$", told, re.MULTILINE)
    if counted is None:
        raise GradingError(f"curl said something else than it was told to: {told.strip()[-300:]}")
    code, size = counted[1], int(counted[2])
    complaint = " ".join((told[: counted.start()] + told[counted.end() :]).split())
    judge.measured(curl_status=status, http_status=code, body_bytes=size)
    if status != 0:
        got = f"it had received {size} bytes by then" if size else "it had received no page"
        judge.fail(
            expected="curl gets the page and ends with status 0",
            observed=f"curl ended with status {status}: {complaint} ({got})",
            hint="28: the answer has no end, as its length is not said and the connection stays"
            " open; 52, 56: the connection was closed before or while answering; 1: no status line",
        )
    if code != "200" or not size:
        judge.fail(
            expected="status 200, and a page",
            observed=f"status {code} and a page of {size} bytes",
        )


def test_body_is_complete(arena: Arena, judge: Judge) -> None:
    place, page = served(arena, judge)
    events = talk(
        arena,
        judge,
        place,
        [
            {"do": "open", "as": "browser"},
            *ask("browser", request(page, BROWSER_FIELDS), quiet_s=PATIENT_S),
        ],
    )
    judge.step("asked for the page as a browser does, and listened until the answer was complete")
    data = said(events, "browser")
    answer = parse(data)
    if not answer.head_ended:
        judge.not_shown(f"no head of an answer came, but {first_line(data)}")
    end, size = heard(events, "browser")[-1]["end"], len(answer.body)
    judge.measured(content_length=answer.length, body_bytes=size, ended_by=end)
    expected = (
        "the answer says where it ends: Content-Length is the number of bytes of the body, or the"
        " connection is closed after them"
    )
    length_hint = (
        "Content-Length counts bytes, not characters: body = text.encode(); len(body). An accented"
        " letter has two bytes in UTF-8"
    )
    if answer.length is not None and size != answer.length:
        judge.fail(
            expected=expected,
            observed=f"Content-Length is {answer.length}, and {size} bytes came",
            hint=length_hint,
        )
    if end == "reset" and not answer.complete:
        judge.fail(
            expected=expected,
            observed="the connection was reset while the answer came: the page may be lost",
            hint="a socket that is closed before all of the request was read sends a reset: read up"
            " to the empty line first",
        )
    if end not in ("close", "reset") and not answer.complete:
        judge.fail(
            expected=expected,
            observed="there is no Content-Length, and the connection stays open: a browser goes on"
            " waiting for more",
            hint="send Content-Length: len(body), or close the connection after the page",
        )


def test_second_client_while_the_first_is_idle(arena: Arena, judge: Judge) -> None:
    place, page = served(arena, judge)
    steps = [{"do": "open", "as": "first"}, *visit("second", request(page))]
    events = talk(arena, judge, place, steps)
    judge.step("a first client connected and said nothing")
    judge.step(f"a second client connected, asked for the page, and waited {WAIT_S:g} s")
    if not said(events, "second"):
        judge.fail(
            expected="the second client is answered at once, whatever the first one does",
            observed=f"the second client got no answer within {WAIT_S:g} s; {ending(arena)}",
            hint="browsers open connections that they do not use yet: one thread per connection, so"
            " that accept can be called again at once",
        )


def test_last_clients_first(arena: Arena, judge: Judge) -> None:
    place, page = served(arena, judge)
    names = [f"client {n}" for n in range(1, CLIENTS + 1)]
    steps: list[dict[str, Any]] = [{"do": "open", "as": name} for name in names]
    for name in reversed(names):
        steps += ask(name, request(page), WAIT_S if name == names[-1] else 0.7)
    events = talk(arena, judge, place, steps)
    answered = [name for name in names if said(events, name)]
    judge.step(f"{CLIENTS} clients connected and said nothing")
    judge.step("they asked for the page one after the other, the one that had come last first")
    judge.measured(clients=CLIENTS, served=len(answered))
    if len(answered) < CLIENTS:
        missing = [name for name in names if name not in answered]
        judge.fail(
            expected=f"each of {CLIENTS} clients is answered when it asks, in any order",
            observed=f"no answer came to {', '.join(missing)}"
            f" ({len(answered)} of {CLIENTS} were served); {ending(arena)}",
            hint="one thread per connection, not a fixed number of them",
        )


def test_an_error_gives_500(arena: Arena, judge: Judge) -> None:
    place, page = served(arena, judge)
    before = usual(arena, judge, place, page)
    if not before.status:
        judge.not_shown("its answers have no status line, so a 500 could not be told from others")
    trigger = arena.program.trigger
    steps: list[dict[str, Any]] = []
    lines = [f"GET {target} HTTP/1.1" for target in ((trigger,) if trigger else STIMULI)]
    lines += [] if trigger else BROKEN_REQUEST_LINES
    for line in lines:
        steps += visit(line, f"{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n", 2.0)
    events = talk(arena, judge, place, steps)
    answers = {line: said(events, line) for line in lines}
    judge.step(
        f"asked for {trigger}, of which lab.toml says that it raises an error"
        if trigger
        else f"asked {len(lines)} times for what may raise an error in a handler: /error,"
        " /%00, a path of 300 letters, broken request lines and so on"
    )
    codes = {line: parse(data).status for line, data in answers.items()}
    judge.measured(statuses=sorted(set(codes.values())))
    raised = [line for line in lines if codes[line] == 500]
    what = quoted(raised[0], 40) if raised else "these requests"
    still_serves(arena, judge, place, page, what)
    hint = (
        "try: the handler; except Exception: answer with HTTP/1.1 500 Internal Server Error; and"
        " whatever happens, the loop around accept goes on"
    )
    expected = "an error while a request is handled is answered with status 500"
    if raised:
        judge.step(f"{quoted(raised[0], 40)} was answered with {first_line(answers[raised[0]])}")
        return
    pages = {
        line: parse(data).body for line, data in answers.items() if codes[line] in range(200, 400)
    }
    own_words = ERROR_PAGE.search(before.body)  # a page about errors may be the usual one
    if said_only := [line for line in pages if ERROR_PAGE.search(pages[line]) and not own_words]:
        line = said_only[0]
        words = ERROR_PAGE.search(pages[line])
        assert words is not None
        judge.fail(
            expected=expected,
            observed=f"{quoted(line, 40)} got a page that says {quoted(words[0].decode())}, but"
            f" its status line is {first_line(answers[line])}: programs read that, not the page",
            hint="the first line of that answer is HTTP/1.1 500 Internal Server Error",
            mistake="an error with status 200",
        )
    if trigger:
        judge.fail(
            expected=expected,
            observed=f"GET {trigger} was answered with {first_line(answers[lines[0]])}",
            hint=hint,
        )
    silent = [line for line in lines if line not in BROKEN_REQUEST_LINES and not answers[line]]
    if silent:
        judge.fail(
            expected=expected,
            observed=f"{quoted(silent[0], 40)} got no answer at all, though it is a request like"
            " others: a browser shows an empty page, or waits",
            hint=hint,
        )
    judge.not_shown(
        "nothing that we sent provoked an error",
        hint='name a path that raises one, in lab.toml: trigger = "/boom"',
    )


def test_request_in_pieces(arena: Arena, judge: Judge) -> None:
    place, page = served(arena, judge)
    before = usual(arena, judge, place, page)
    pieces = [piece.replace("/ ", f"{page} ") for piece in PIECES]
    steps: list[dict[str, Any]] = [{"do": "open", "as": "slow"}]
    for piece in pieces:
        steps += ask("slow", piece, WAIT_S if piece is pieces[-1] else 0.15)
    events = talk(arena, judge, place, steps)
    judge.step(f"sent a request in pieces, 0.15 s apart: {', '.join(map(quoted, pieces))}")
    data = said(events, "slow")
    if not data or parse(data).status != before.status:
        early = [e for e in heard(events, "slow")[:-1] if e["data"] or e["end"] == "close"]
        when = "already before the request was complete, " if early else ""
        judge.fail(
            expected="the same answer as to the request in one piece, after the last one",
            observed=f"{when}the answer is {first_line(data)}",
            hint="one recv gives what is there, not a whole request: call it again until the empty"
            " line (\\r\\n\\r\\n) is there",
        )


def test_survives_garbage(arena: Arena, judge: Judge) -> None:
    place, page = served(arena, judge)
    usual(arena, judge, place, page)
    steps: list[dict[str, Any]] = []
    for n, garbage in enumerate(GARBAGE):
        name = f"garbage {n + 1}"
        steps += [{"do": "open", "as": name}, *ask(name, garbage, 0.25, quiet_s=0.1)]
        steps += [{"do": "reset" if n % 2 else "close", "as": name}]
    talk(arena, judge, place, steps)
    judge.step(
        f"{len(GARBAGE)} clients sent what is no request: zeros, bytes that are no text, the"
        " beginning of TLS, a field of 70,000 bytes without an end, and went away"
    )
    still_serves(arena, judge, place, page, "garbage")


def test_reveals_nothing(arena: Arena, judge: Judge) -> None:
    place, _ = served(arena, judge)
    tries = {pattern.format(path): mark for path, mark in OUTSIDE.items() for pattern in TRAVERSALS}
    steps = [step for target in tries for step in visit(target, request(target), 0.7)]
    events = talk(arena, judge, place, steps)
    judge.step(
        f"asked {len(tries)} times for {' and '.join('/' + path for path in OUTSIDE)}, files"
        " outside of the server's folder: with ../, with it percent-encoded, with // and so on"
    )
    leaks: list[str] = [target for target, mark in tries.items() if mark in said(events, target)]
    judge.measured(tries=len(tries), revealed=leaks[:10])
    if leaks:
        content = quoted(parse(said(events, leaks[0])).body[:60].decode("latin-1"))
        judge.fail(
            expected="nothing outside of the folder that is served is ever sent",
            observed=f"security: {quoted('GET ' + leaks[0], 100)} was answered with a file from"
            f" outside of its folder: {content}",
            hint="path = (folder / target.lstrip('/')).resolve(), and 404 unless"
            " path.is_relative_to(folder.resolve())",
        )
