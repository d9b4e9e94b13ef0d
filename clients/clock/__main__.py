"""The clock client: asks a server what time it is, and says how far its clock is from this one."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from clients.clock.asking import Asker, Failure, Outcome
from clients.clock.conversation import Conversation
from clients.clock.estimate import MAX_DRIFT_PPM, WIDE_DRIFT_PPM, Sample
from clients.clock.report import document, outcome_line, summary_text
from clients.output import status_of
from services.clock.protocol import PORT
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


def drift_limit_ppm(text: str) -> float:
    """Return microseconds a second, from 0 to ``WIDE_DRIFT_PPM``. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= WIDE_DRIFT_PPM:
        raise ValueError(f"a drift limit is from 0 to {WIDE_DRIFT_PPM:.0f} ppm, not {text!r}")
    return value


def parser() -> OptionParser:
    """Return the options of the client; see ``--help``."""
    options = OptionParser(
        "CLOCK",
        prog="clock-client",
        description=__doc__,
        epilog="""examples:
  python -m clients.clock                              five questions to localhost
  python -m clients.clock --count 50 --interval 20ms
  python -m clients.clock --count 1000 --interval 10ms --json     enough to see the drift
  python -m clients.clock --host 192.0.2.7 --plain                a server of somebody else's

The difference is the server's clock minus this machine's; the true one lies within the bound. More
questions make the bound smaller: it is half of the fastest way there plus the fastest way back.
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
        "--max-drift",
        type=drift_limit_ppm,
        default=MAX_DRIFT_PPM,
        metavar="PPM",
        help="how much faster or slower the server's clock may run (default 500, as NTP assumes; "
        "more is found out when the samples show it)",
    )
    options.add_argument(
        "--plain",
        action="store_true",
        help='ask only "what time is it?", not for the times of receipt and answer',
    )
    options.add_argument(
        "--bare",
        action="store_true",
        help="as --plain, and without a line end, for servers that compare the bytes exactly",
    )
    options.add_argument("--json", action="store_true", help="print one JSON document instead")
    return options


def questions(asker: Asker, count: int, interval_s: float) -> Iterator[Outcome]:
    """Ask ``count`` questions, ``interval_s`` apart if the answers allow it; yield each outcome.

    Ends early when there is no server at all at the first one.
    """
    begin = time.monotonic()
    for number in range(1, count + 1):
        time.sleep(max(0.0, begin + (number - 1) * interval_s - time.monotonic()))
        yield asker.ask(number)
        if number == 1 and asker.unreachable:
            return


def run(settings: argparse.Namespace) -> int:
    """Ask as ``settings`` say, print, and return the exit status."""
    outcomes: list[Outcome] = []
    interrupted = False
    with Conversation(settings.host, settings.port, settings.timeout) as conversation:
        asker = Asker(
            conversation,
            settings.zone,
            settings.timeout,
            plain=settings.plain,
            bare=settings.bare,
        )
        try:
            for outcome in questions(asker, settings.count, settings.interval):
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
            "max_drift_ppm": settings.max_drift,
            "plain": settings.plain,
            "bare": settings.bare,
        }
        made = document(
            outcomes,
            asked_for,
            conversation.peer,
            interrupted=interrupted,
            max_drift_ppm=settings.max_drift,
            question=asker.question,
            fallback=asker.fallback,
        )
        print(json.dumps(made, indent=2))
    elif conversation.peer is not None:
        target = f"{settings.host} ({conversation.peer})"
        print(summary_text(outcomes, target, settings.max_drift, asker.fallback))
    if interrupted:
        return INTERRUPTED
    return 0 if all(isinstance(outcome, Sample) for outcome in outcomes) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with ``arguments`` (those of the command line when None)."""
    settings = parser().parse_args(arguments)
    return status_of(lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
