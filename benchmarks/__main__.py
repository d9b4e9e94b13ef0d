"""``make bench`` runs every benchmark; ``python3 -m benchmarks lab`` runs one.

A benchmark is a module of this package with ``main(arguments) -> exit status``.

All of Python's side runs on the interpreter that runs this. The containers have their
distribution's, and this machine's own is the nearest to it::

    make bench PYTHON=/usr/bin/python3

One that was compiled without profile-guided optimisation is slower by a fifth to a third.
"""

import importlib
import os
import pkgutil
import platform
import sys

import benchmarks


def main(arguments: list[str]) -> int:
    """Run the benchmark that is named, or all of them one after the other."""
    names = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name[0] != "_")
    if arguments and arguments[0] not in names:
        print(f"no benchmark {arguments[0]!r}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    chosen, rest = (arguments[:1], arguments[1:]) if arguments else (names, [])
    print(f"Python {platform.python_version()}, {os.path.realpath(sys.executable)}")
    worst = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        worst = max(worst, importlib.import_module(f"benchmarks.{name}").main(rest))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
