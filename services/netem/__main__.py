"""``python -m services.netem run|set|apply|reset|show|check``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from services.events import Events
from services.lifetime import Lifetime
from services.netem import NetemError, WrongWords
from services.netem.kernel import Interface
from services.netem.readback import DIRECTIONS, FROM_SERVER
from services.netem.settings import Settings
from services.netem.sidecar import Sidecar, description, sentence
from services.options import OptionParser

EPILOG = """\
The words are those of tc netem, each direction by itself (a delay is one way):
  set loss 10%                                     from the server towards its clients
  set --direction to_server loss 30% delay 100ms   from the clients towards the server
  set off         no impairment
  set default     back to the setting of the environment
  apply           both directions together, all or nothing; on standard input:
                  {"from_server": "delay 300ms", "to_server": "loss 5%", "name": "satellite"}

exit status: 0 done, or in effect   1 not in effect, or failed
             2 wrong words          3 not on this kernel
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    options = _parser().parse_args(arguments)
    command = options.command
    sidecar = Sidecar(
        options.service,
        options.default,
        Interface(options.interface),
        Settings(options.settings, options.service),
    )
    try:
        match command:
            case "run":
                lifetime = Lifetime(options.interface).end_on_signals()
                events = Events(f"{options.service}-netem")
                return sidecar.run(lifetime, events, _say, options.status)
            case "set":
                receipt = sidecar.set(" ".join(options.words), options.direction)
            case "apply":
                receipt = sidecar.apply(_object(sys.stdin.read()))
            case "reset":
                receipt = sidecar.reset()
            case _:
                receipt = sidecar.show()
    except NetemError as error:
        refused = "the old setting stays: " if command in ("set", "apply") else ""
        print(f"{options.service}-netem: {refused}{error}", file=sys.stderr)
        return 1 if command == "check" else error.exit_status
    if command == "check":
        _say(sentence(receipt))
    else:
        _say(json.dumps(receipt) if options.json else description(receipt))
    return 0 if receipt["verdict"] == "in effect" else 1


def _parser() -> OptionParser:
    parser = OptionParser(
        "NETEM", prog="python -m services.netem", description=__doc__, epilog=EPILOG
    )
    parser.add_setting("service", default="udp", help="service whose network this is")
    parser.add_setting(
        "default", default="", help="impairment from the server, where none was set at run time"
    )
    parser.add_setting("interface", default="eth0", help="network interface to shape")
    parser.add_setting("settings", default="/settings", help="folder that keeps run-time settings")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )
    run = commands.add_parser(
        "run", help="apply the setting, keep it in effect, remove it on SIGTERM"
    )
    run.add_argument(
        "--status",
        type=Path,
        metavar="FILE",
        help="a file that is there, and new, while the setting is in effect",
    )
    set_ = commands.add_parser("set", help="change one direction of a running sidecar")
    set_.add_argument("words", nargs="+", metavar="WORDS", help="tc netem's words, off or default")
    set_.add_argument("--direction", choices=DIRECTIONS, default=FROM_SERVER)
    apply = commands.add_parser("apply", help="change both directions, as standard input says")
    reset = commands.add_parser("reset", help="back to the environment's setting, both directions")
    show = commands.add_parser("show", help="what is in effect, read back from the kernel")
    for command in (set_, apply, reset, show):
        command.add_argument("--json", action="store_true", help="print the receipt as JSON")
    commands.add_parser("check", help="health check: 0 if what is asked for is in effect")
    return parser


def _object(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise WrongWords(f"standard input is not JSON: {error}") from None


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
