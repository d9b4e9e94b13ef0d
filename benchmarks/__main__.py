"""``make bench`` runs every benchmark; ``python3 -m benchmarks lab`` runs one.

A benchmark is a module of this package with ``main(arguments) -> exit status``.
"""

import importlib
import pkgutil
import sys

import benchmarks


def main(arguments: list[str]) -> int:
    """Run the benchmark that is named, or all of them one after the other."""
    names = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name[0] != "_")
    if arguments and arguments[0] not in names:
        print(f"no benchmark {arguments[0]!r}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    chosen, rest = (arguments[:1], arguments[1:]) if arguments else (names, [])
    worst = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        worst = max(worst, importlib.import_module(f"benchmarks.{name}").main(rest))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
