"""``python -m services.netem run|set|show|check``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from services.events import Events
from services.lifetime import Lifetime
from services.netem import NetemError
from services.netem.kernel import Interface
from services.netem.settings import Settings
from services.netem.sidecar import Sidecar, description, sentence
from services.options import OptionParser

EPILOG = """\
The words are those of tc netem, from the server towards its clients (one way):
  set loss 10%
  set loss 30% delay 100ms 20ms
  set off         no impairment
  set default     back to the setting of the environment

exit status: 0 done, or in effect   1 not in effect, or failed
             2 wrong words          3 not on this kernel
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = OptionParser(
        "NETEM", prog="python -m services.netem", description=__doc__, epilog=EPILOG
    )
    parser.add_setting("service", default="udp", help="service whose network this is")
    parser.add_setting("default", default="", help="impairment where none was set at run time")
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
    set_ = commands.add_parser("set", help="change the setting of a running sidecar")
    set_.add_argument("words", nargs="+", metavar="WORDS", help="tc netem's words, off or default")
    show = commands.add_parser("show", help="what is in effect, read back from the kernel")
    for command in (set_, show):
        command.add_argument("--json", action="store_true", help="print the receipt as JSON")
    commands.add_parser("check", help="health check: 0 if what is asked for is in effect")
    options = parser.parse_args(arguments)

    sidecar = Sidecar(
        options.service,
        options.default,
        Interface(options.interface),
        Settings(options.settings, options.service),
    )
    try:
        if options.command == "run":
            lifetime = Lifetime(options.interface).end_on_signals()
            return sidecar.run(lifetime, Events(f"{options.service}-netem"), _say, options.status)
        if options.command == "set":
            receipt = sidecar.set(" ".join(options.words))
        else:
            receipt = sidecar.show() if options.command == "show" else sidecar.check()
    except NetemError as error:
        refused = "the old setting stays: " if options.command == "set" else ""
        print(f"{options.service}-netem: {refused}{error}", file=sys.stderr)
        return 1 if options.command == "check" else error.exit_status
    if options.command == "check":
        _say(sentence(receipt))
    else:
        _say(json.dumps(receipt) if options.json else description(receipt))
    return 0 if receipt["verdict"] == "in effect" else 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
