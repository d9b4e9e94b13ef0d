"""The clock client: asks a server what time it is, and says how far its clock is from this one."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from clients.clock.answers import UnreadableAnswer, read_answer
from clients.clock.conversation import Conversation, NoAnswer, Unreachable
from clients.clock.estimate import Sample
from clients.clock.report import Failure, Outcome, document, outcome_line, summary_text
from services.clock.protocol import PORT, QUESTION
from services.options import (
    OptionParser,
    integer,
    non_negative_duration_s,
    positive_duration_s,
)

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the number of SIGINT."""


def zone(text: str) -> tzinfo:
    """Return ``local``, ``utc`` or ``+02:00`` as a time zone. Raises ValueError."""
    if text == "local":
        return datetime.now().astimezone().tzinfo or UTC
    if text == "utc":
        return UTC
    try:
        moment = datetime.strptime(text, "%z")
    except ValueError:
        raise ValueError(f"a zone is local, utc, or like +02:00, not {text!r}") from None
    return timezone(moment.utcoffset() or timedelta(0))


def parser() -> OptionParser:
    """Return the options of the client; see ``--help``."""
    options = OptionParser(
        "CLOCK",
        prog="clock-client",
        description=__doc__,
        epilog="""examples:
  python -m clients.clock                              five questions to localhost
  python -m clients.clock --count 50 --interval 20ms
  python -m clients.clock --host 192.0.2.7 --json

The difference is the server's clock minus this machine's; the true one lies within the bound.
Times are printed in s, ms or us; options take 2.5s, 20ms, 1min.

exit status: 0 every question was answered with a time; 1 not every one, or no server there;
2 wrong usage; 130 Ctrl-C (the summary so far is printed)""",
    )
    options.add_setting("host", default="localhost", help="name or address of the server")
    options.add_setting("port", type=integer(1, 65535), default=PORT, help="its TCP port")
    options.add_argument(
        "--count", type=integer(1), default=5, metavar="N", help="questions (default 5)"
    )
    options.add_argument(
        "--interval",
        type=non_negative_duration_s,
        default=0.2,
        metavar="TIME",
        help="from one question to the next (default 200ms)",
    )
    options.add_argument(
        "--timeout",
        type=positive_duration_s,
        default=5.0,
        metavar="TIME",
        help="for connecting, and for each answer (default 5s)",
    )
    options.add_argument(
        "--zone",
        type=zone,
        default="local",
        metavar="ZONE",
        help="zone of answers that name none: local (default), utc, or like +02:00",
    )
    options.add_argument(
        "--bare",
        action="store_true",
        help="send the question without a line end, for servers that compare its bytes exactly",
    )
    options.add_argument("--json", action="store_true", help="print one JSON document instead")
    return options


def questions(
    conversation: Conversation, count: int, interval_s: float, assumed_zone: tzinfo
) -> Iterator[Outcome]:
    """Ask ``count`` questions, ``interval_s`` apart if the answers allow it; yield each outcome.

    Ends early when there is no server at all at the first one.
    """
    begin = time.monotonic()
    for number in range(1, count + 1):
        time.sleep(max(0.0, begin + (number - 1) * interval_s - time.monotonic()))
        try:
            answer = conversation.ask()
            server = read_answer(
                answer.text, cut_off=answer.ended_by != "line end", zone=assumed_zone
            )
        except UnreadableAnswer as error:
            yield Failure(number, "unreadable", str(error))
        except NoAnswer as error:
            yield Failure(number, error.status, str(error))
            if number == 1 and isinstance(error, Unreachable):
                return
        else:
            yield Sample(
                number, answer.sent_wall_ns, answer.received_wall_ns, answer.rtt_ns, server
            )


def run(settings: argparse.Namespace) -> int:
    """Ask as ``settings`` say, print, and return the exit status."""
    outcomes: list[Outcome] = []
    interrupted = False
    question = QUESTION if settings.bare else QUESTION + b"\n"
    with Conversation(settings.host, settings.port, settings.timeout, question) as conversation:
        try:
            for outcome in questions(
                conversation, settings.count, settings.interval, settings.zone
            ):
                outcomes.append(outcome)
                failed = isinstance(outcome, Failure)
                if failed or not settings.json:
                    print(outcome_line(outcome), file=sys.stderr if failed else sys.stdout)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            interrupted = True
    if settings.json:
        asked_for = {
            "host": settings.host,
            "port": settings.port,
            "count": settings.count,
            "interval_s": settings.interval,
            "timeout_s": settings.timeout,
            "zone": str(settings.zone),
            "bare": settings.bare,
        }
        print(json.dumps(document(outcomes, asked_for, conversation.peer, interrupted), indent=2))
    elif conversation.peer is not None:
        print(summary_text(outcomes, f"{settings.host} ({conversation.peer})"))
    if interrupted:
        return INTERRUPTED
    return 0 if all(isinstance(outcome, Sample) for outcome in outcomes) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with ``arguments`` (those of the command line when None)."""
    try:
        return run(parser().parse_args(arguments))
    except BrokenPipeError:  # the reader of our output has seen enough, as in "| head -1"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 1


if __name__ == "__main__":
    sys.exit(main())
