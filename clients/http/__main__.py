"""The HTTP client: fetches a URL, shows what came back, and how long each step took."""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

from clients.http.answer import Answer
from clients.http.fetch import NoAnswer, Timing, Url, fetch, parse_url
from clients.output import status_of
from services.http.protocol import PORT
from services.options import (
    USAGE_ERROR,
    OptionParser,
    integer,
    non_negative_duration_s,
    port,
    positive_duration_s,
)

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the number of SIGINT."""

SHOWN_BODY_CHARACTERS = 16384

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One fetch: an answer with its timing, or an error."""

    answer: Answer | None = None
    timing: Timing | None = None
    error: str | None = None

    @property
    def good(self) -> bool:
        """Whether it was answered, with a status below 400."""
        return self.answer is not None and self.answer.status < 400


def parser() -> OptionParser:
    """Return the options of the client; see ``--help``."""
    options = OptionParser(
        "HTTP",
        prog="http-client",
        description=__doc__,
        epilog=f"""examples:
  python -m clients.http
  python -m clients.http http://localhost:12345/fail
  python -m clients.http --head http://example.org/
  python -m clients.http --count 20 --interval 100ms --json

Times: connect is TCP's handshake; first byte is from the request sent to the first byte of the
answer; total is all of it, the name lookup too. Shown in ms; options take 2.5s, 20ms, 1min.
Shown is the body's text, at most {SHOWN_BODY_CHARACTERS} characters, without control characters on
a terminal.

exit status: 0 every fetch was answered with a status below 400; 1 not every one, or no server
there; 2 wrong usage; 130 Ctrl-C (the summary so far is printed)""",
    )
    options.add_argument("url", nargs="?", metavar="URL", help="default http://HOST:PORT/")
    options.add_setting("host", default="127.0.0.1", help="server of the default URL")
    options.add_setting("port", default=PORT, type=port, help="its TCP port")
    options.add_argument(
        "--method", default="GET", choices=METHODS, help="request method (default GET), no body"
    )
    options.add_argument(
        "--head",
        action="store_const",
        const="HEAD",
        dest="method",
        help="the same as --method HEAD",
    )
    options.add_argument(
        "--timeout",
        type=positive_duration_s,
        default=10.0,
        metavar="TIME",
        help="for a whole fetch but its name lookup (default 10s)",
    )
    options.add_argument(
        "--count", type=integer(1), default=1, metavar="N", help="fetches, a line each (default 1)"
    )
    options.add_argument(
        "--interval",
        type=non_negative_duration_s,
        default=0.0,
        metavar="TIME",
        help="pause between fetches (default none)",
    )
    options.add_argument("--json", action="store_true", help="print one JSON document instead")
    return options


def main() -> int:
    """Run the program with the arguments of the command line."""
    options = parser().parse_args()
    return status_of(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Fetch, show, and return the exit status."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    text = options.url or f"http://{host}:{options.port}/"
    try:
        url = parse_url(text)
    except ValueError as error:
        print(f"http-client: {error}: {text!r}", file=sys.stderr)
        return USAGE_ERROR
    attempts: list[Attempt] = []
    interrupted = False
    try:
        for number in range(1, options.count + 1):
            if number > 1:
                time.sleep(options.interval)
            attempt = _attempt(options.method, url, options.timeout)
            attempts.append(attempt)
            if options.json:
                continue
            if attempt.error is not None:
                print(attempt.error, file=sys.stderr)
            elif options.count == 1:
                print(shown(attempt, escape=sys.stdout.isatty()))
            else:
                print(line(number, attempt), flush=True)
    except KeyboardInterrupt:
        interrupted = True
    if options.json:
        print(json.dumps(document(text, options.method, options.timeout, attempts), indent=2))
    elif options.count > 1:
        print(summary(attempts))
    if interrupted:
        return INTERRUPTED
    return 0 if all(attempt.good for attempt in attempts) else 1


def _attempt(method: str, url: Url, timeout_s: float) -> Attempt:
    try:
        answer, timing = fetch(method, url, timeout_s)
    except NoAnswer as error:
        return Attempt(error=str(error))
    return Attempt(answer, timing)


def shown(attempt: Attempt, *, escape: bool) -> str:
    """Return status line, fields, body and timing, for people."""
    assert attempt.answer is not None
    assert attempt.timing is not None
    answer = attempt.answer
    text = answer.text()
    rest = len(text) - SHOWN_BODY_CHARACTERS
    lines = [answer.status_line, *(f"{name}: {value}" for name, value in answer.fields), ""]
    if text:
        lines += [text[:SHOWN_BODY_CHARACTERS].rstrip("\n"), ""]
    if rest > 0:
        lines += [f"... and {rest} characters more", ""]
    whole = "\n".join(lines)
    timing = times(attempt.timing)
    return f"{_escaped(whole) if escape else whole}\n{len(answer.body)} bytes of body; {timing}"


def line(number: int, attempt: Attempt) -> str:
    """Return one line for one of several fetches."""
    assert attempt.answer is not None
    assert attempt.timing is not None
    status_line = _escaped(attempt.answer.status_line)
    return f"fetch {number}: {status_line}, {times(attempt.timing)}"


def times(timing: Timing) -> str:
    """Return the timing for people."""
    return (
        f"connect {timing.connect_ms:.2f} ms, first byte {timing.first_byte_ms:.2f} ms, "
        f"total {timing.total_ms:.2f} ms"
    )


def statistics(attempts: list[Attempt]) -> dict[str, float | int | None]:
    """Return counts, and the total times of the answered fetches in ms (None if there are none)."""
    totals = [attempt.timing.total_ms for attempt in attempts if attempt.timing is not None]
    return {
        "fetches": len(attempts),
        "answered": len(totals),
        "good": sum(attempt.good for attempt in attempts),
        "total_min_ms": min(totals, default=None),
        "total_average_ms": sum(totals) / len(totals) if totals else None,
        "total_max_ms": max(totals, default=None),
    }


def summary(attempts: list[Attempt]) -> str:
    """Return the closing lines for people."""
    figures = statistics(attempts)
    counts = (
        f"{figures['fetches']} fetches, {figures['answered']} answered, "
        f"{figures['good']} with a status below 400"
    )
    if not figures["answered"]:
        return counts
    return (
        f"{counts}\ntotal min {figures['total_min_ms']:.2f} / average "
        f"{figures['total_average_ms']:.2f} / max {figures['total_max_ms']:.2f} ms"
    )


def document(url: str, method: str, timeout_s: float, attempts: list[Attempt]) -> dict[str, object]:
    """Return the JSON document: settings, every attempt, statistics."""
    return {
        "format": 1,
        "settings": {"url": url, "method": method, "timeout_s": timeout_s},
        "attempts": [
            {
                "error": attempt.error,
                "answer": None
                if attempt.answer is None
                else {
                    "status_line": attempt.answer.status_line,
                    "status": attempt.answer.status,
                    "fields": attempt.answer.fields,
                    "body_bytes": len(attempt.answer.body),
                    "body": attempt.answer.text(),
                },
                "timing": None if attempt.timing is None else asdict(attempt.timing),
            }
            for attempt in attempts
        ],
        "statistics": statistics(attempts),
    }


def _escaped(text: str) -> str:
    """Show control characters instead of obeying them: a body may carry terminal commands."""
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


if __name__ == "__main__":
    sys.exit(main())
