"""Where this machine's apt gets its packages from, and the same mirrors for another release.

Both forms of sources.list(5) are read. The lab writes no mirror of its own choosing: another
Debian release is fetched from where this machine already fetches its own, with the same options
(Signed-By above all).

::

    Types: deb                              deb [signed-by=KEYRING] URI SUITE COMPONENT...
    URIs: URI
    Suites: bookworm bookworm-updates
    Components: main
    Signed-By: KEYRING
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_DEBIAN_SUITES = (
    "oldoldstable", "oldstable", "stable", "testing", "unstable", "sid",
    "bullseye", "bookworm", "trixie", "forky", "duke",
)  # fmt: skip

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<rest>\S.*)")

# The names that differ between the forms; the others differ in their first letters' case only.
_OPTION_NAMES = {
    "arch": "Architectures", "signed-by": "Signed-By", "trusted": "Trusted",
    "check-valid-until": "Check-Valid-Until", "check-date": "Check-Date",
    "allow-insecure": "Allow-Insecure", "allow-weak": "Allow-Weak",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One entry: where, which suites and components, and its options in deb822's names."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    def stanza(self) -> str:
        """Return the entry in deb822 form."""
        fields = {
            "Types": "deb",
            "URIs": " ".join(self.uris),
            "Suites": " ".join(self.suites),
            "Components": " ".join(self.components),
            **self.options,
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items())


def configured(folder: Path = Path("/etc/apt")) -> list[Source]:
    """Return this machine's binary package sources, those switched off left out."""
    parts = folder / "sources.list.d"
    found = parse_lines(_text(folder / "sources.list"))
    for path in sorted(parts.glob("*.list")):
        found += parse_lines(_text(path))
    for path in sorted(parts.glob("*.sources")):
        found += parse_deb822(_text(path))
    return found


def parse_lines(text: str) -> list[Source]:
    """Return the ``deb`` lines of a one-line style file; what is not understood is left out."""
    found = []
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        uri, *words = match["rest"].split()
        options = {}
        for option in (match["options"] or "").split():
            name, equals, value = option.partition("=")
            if equals and name in _OPTION_NAMES:
                options[_OPTION_NAMES[name]] = value.replace(",", " ")
        if words:
            found.append(Source((uri,), (words[0],), tuple(words[1:]), options))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Return the stanzas of a deb822 style file that offer binary packages and are enabled."""
    found = []
    for fields in _stanzas(text):
        if "deb" not in fields.pop("types", ("", ""))[1].split():
            continue
        if fields.pop("enabled", ("", "yes"))[1].lower() in ("no", "false", "0", "off"):
            continue
        uris, suites, components = (
            tuple(fields.pop(name, ("", ""))[1].split())
            for name in ("uris", "suites", "components")
        )
        found.append(Source(uris, suites, components, dict(fields.values())))
    return found


def for_release(sources: Iterable[Source], release: str) -> list[Source]:
    """Return entries for a Debian release from the mirrors of ``sources``, ``main`` alone.

    A machine's own release, its ``-updates`` and its ``-security`` become those of ``release``
    (``bookworm-backports`` has none); an entry of ``release`` itself comes first. [] where no
    Debian mirror is configured.
    """
    pockets = ("",) if "-" in release else ("", "updates", "security")
    found: dict[str, Source] = {}
    for source in sorted(sources, key=lambda s: release not in s.suites):
        if "main" not in source.components:
            continue
        for suite in source.suites:
            codename, _, pocket = suite.partition("-")
            if codename not in _DEBIAN_SUITES or pocket not in pockets:
                continue
            wanted = f"{release}-{pocket}" if pocket else release
            options = {k: v for k, v in source.options.items() if k != "Architectures"}
            found.setdefault(wanted, Source(source.uris, (wanted,), ("main",), options))
    return list(found.values()) if release in found else []


def offers(sources: Iterable[Source], release: str, alias: str) -> bool:
    """Return whether a release is configured, by its codename or its alias ("stable")."""
    return any("main" in s.components and {release, alias} & set(s.suites) for s in sources)


def acquire_options(apt_config: str) -> list[str]:
    """Return the ``Acquire::Check-*`` lines of ``apt-config dump``.

    A mirror that is a snapshot, or a machine whose clock is off, needs them for every release.
    """
    return [line for line in apt_config.splitlines() if line.startswith("Acquire::Check-")]


def proxies(apt_config: str) -> dict[str, str]:
    """Return ``http_proxy`` and ``https_proxy`` as ``apt-config dump`` has them."""
    found = {}
    for line in apt_config.splitlines():
        match = re.fullmatch(r'Acquire::(https?)::Proxy "(\S+)";', line, re.IGNORECASE)
        if match and match[2] != "DIRECT":
            found[f"{match[1].lower()}_proxy"] = match[2]
    return found


def _stanzas(text: str) -> list[dict[str, tuple[str, str]]]:
    """Return each stanza's fields by lower-case name, with the name as written and the value.

    A line that begins with white space goes on with the value before it (a key may stand there).
    """
    stanzas: list[dict[str, tuple[str, str]]] = [{}]
    last = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            stanzas.append({})
        elif line[0] in " \t":
            name, value = stanzas[-1].get(last, (last, ""))
            stanzas[-1][last] = (name, f"{value}\n{line.rstrip()}")
        else:
            name, _, value = line.partition(":")
            last = name.strip().lower()
            stanzas[-1][last] = (name.strip(), value.strip())
    return [stanza for stanza in stanzas if stanza]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
