"""The report as one page of HTML: no other file, no network, no script needed to read it. Pure."""

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lab.experiments.plan import Experiment
from lab.experiments.runs import MEASURED
from lab.receipts import measured
from lab.report import drawing
from lab.report.links import directions
from lab.report.model import FALSE_ALARM, USUAL, Claim, Figure, Table, Value
from lab.scenario import DIRECTIONS

_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")

_SCRIPT = """\
const root = document.documentElement, button = document.querySelector(".corner button");
button.hidden = false;
button.addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
"""


@dataclass(frozen=True)
class Drawn:
    """A figure with its drawing as SVG, a document of its own, and as PNG.

    ``own_style``: the SVG brings its own and goes into the page as it is.
    """

    figure: Figure
    svg: str
    png: bytes
    own_style: bool = False

    @property
    def inline(self) -> str:
        """The drawing as a part of the page."""
        if self.own_style:
            return self.svg[self.svg.index("<svg") :]
        return drawing.inline(self.svg, escape(self.figure.alternative, quote=True))


def page(
    experiment: Experiment,
    facts: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    claims: Sequence[Claim],
    remarks: Sequence[str],
    figures: Sequence[Drawn],
) -> str:
    """Return the whole page."""
    links = [("claims", "Predicted and measured")]
    links += [(drawn.figure.name, drawn.figure.title) for drawn in figures]
    links += [("cells", "The cells and their networks"), ("method", "How this was measured")]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(experiment.title)}</title>",
            f"<style>{_style()}</style>",
            '<div class="corner"><button type="button" hidden>light / dark</button></div>',
            "<main>",
            f"<h1>{escape(experiment.title)}</h1>",
            f'<p class="question">{escape(experiment.question)}</p>',
            f'<p class="facts">{escape(_facts(experiment, facts, records))}</p>',
            _verdict(claims),
            *(f"<p>{escape(line)}</p>" for line in [*_gaps(experiment, records), *remarks]),
            '<nav aria-label="Contents"><ol>',
            *(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in links),
            "</ol></nav>",
            _claims(claims),
            *map(_figure, figures),
            _cells(records),
            _method(experiment, records, claims),
            "</main>",
            f"<script>{_SCRIPT}</script>",
            "</html>",
            "",
        ]
    )


def as_csv(table: Table) -> str:
    """Return a table as CSV (RFC 4180)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()


def sentence(claims: Sequence[Claim]) -> str:
    """Return in one sentence how many predictions hold."""
    if not claims:
        return "Nothing was predicted here, so nothing is claimed."
    wrong = sum(not claim.holds for claim in claims)
    if not wrong:
        return f"All {len(claims)} measured values are where they were predicted."
    verb = "is" if wrong == 1 else "are"
    return f"{wrong} of {len(claims)} measured values {verb} outside the predicted band."


def claims_table(claims: Sequence[Claim]) -> Table:
    """Return every prediction with its band and the measured value."""
    return Table(
        ("cell", "what", "unit", "predicted", "band from", "band to", "measured", "in its band"),
        [
            [
                claim.prediction.cell, claim.prediction.what, claim.prediction.unit,
                claim.band.expected, claim.band.low, claim.band.high, claim.prediction.measured,
                "yes" if claim.holds else "no, outside",
            ]
            for claim in claims
        ],
    )  # fmt: skip


def _style() -> str:
    def variables(theme: Mapping[str, str]) -> str:
        return " ".join(f"--{name}: {code};" for name, code in theme.items())

    return _STYLE.replace("@LIGHT@", variables(drawing.LIGHT)).replace(
        "@DARK@", variables(drawing.DARK)
    )


def _facts(
    experiment: Experiment, facts: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> str:
    began = str(facts["began"]).replace("T", " ").replace("+00:00", " UTC")
    planned = len(experiment.cells) * experiment.repetitions
    measured = sum(record["status"] == MEASURED for record in records)
    seconds = sum(record.get("took_s", 0.0) for record in records)
    mechanisms = sorted(
        {
            str(way["mechanism"])
            for record in records
            if record["receipt"]
            for way in directions(record).values()
        }
        - {"none"}
    )
    return (
        f"Experiment {experiment.name}, {began}: {measured} of {planned} cells measured in "
        f"{seconds:.0f} s, with the {experiment.exercise} server and client of progres-lab in "
        f"containers, kernel {facts['kernel']}, {facts['processors']} processors; the network is "
        f"made by {' and '.join(mechanisms) or 'nothing: it is unimpaired'}."
    )


def _verdict(claims: Sequence[Claim]) -> str:
    wrong = [claim for claim in claims if not claim.holds]
    kind = "verdict alarm" if wrong else "verdict"
    text = f"<strong>{escape(sentence(claims))}</strong>"
    if wrong:
        items = "".join(
            f"<li>{escape(claim.prediction.cell)}: {escape(claim.prediction.what)}: measured "
            f"{_number(claim.prediction.measured)} {escape(claim.prediction.unit)}, predicted "
            f"{_number(claim.band.expected)} (from {_number(claim.band.low)} to "
            f"{_number(claim.band.high)})</li>"
            for claim in wrong
        )
        text += f"<ul>{items}</ul>"
    return f'<div class="{kind}" role="note">{text}</div>'


def _gaps(experiment: Experiment, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what was not measured and why, a sentence each."""
    planned = len(experiment.cells) * experiment.repetitions
    lines = []
    if len(records) < planned:
        lines.append(
            f"The run was stopped: {planned - len(records)} of {planned} cells are missing. "
            f"make experiment NAME={experiment.name} goes on with them."
        )
    for status, meaning in (
        ("refused", "could not be measured on this kernel"),
        ("invalid", "were measured without a valid receipt, and are left out of every claim"),
        ("failed", "failed"),
    ):
        reasons: dict[str, list[str]] = {}
        for record in records:
            if record["status"] == status:
                because = "; ".join(record["because"]).partition(". ")[0].rstrip(".")
                reasons.setdefault(because, []).append(_label(record))
        lines += [
            f"{len(cells)} of {planned} cells {meaning} ({'; '.join(cells)}): {because}."
            for because, cells in reasons.items()
        ]
    return lines


def _label(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record["parameters"].items()) or "all"


def _claims(claims: Sequence[Claim]) -> str:
    if not claims:
        return '<h2 id="claims">Predicted and measured</h2><p>No prediction can be made here.</p>'
    random = sum(claim.band.false_alarm > 0 for claim in claims)
    each = FALSE_ALARM / len(claims)
    how = (
        f"A band holds what a faultless lab measures in all but 1 of {1 / each:,.0f} runs; all "
        f"{random} bands together in all but 1 of {1 / FALSE_ALARM:,.0f} reports."
        if random
        else "These bands are certain: no chance is in them."
    )
    return (
        f'<h2 id="claims">Predicted and measured</h2><p>{how}</p>'
        f"{_table(claims_table(claims), 'Every prediction beside what was measured')}"
        f"<p class='small'>{_download('claims', claims_table(claims))}</p>"
    )


def _figure(drawn: Drawn) -> str:
    figure = drawn.figure
    return (
        f'<section aria-labelledby="{figure.name}"><h2 id="{figure.name}">'
        f"{escape(figure.title)}</h2><figure>"
        f"{drawn.inline}"
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        f"<details><summary>The table behind this plot ({len(figure.table.rows)} rows)</summary>"
        f"{_table(figure.table, figure.title)}"
        f"<p class='small'>{_download(figure.name, figure.table)}</p></details></section>"
    )


def _download(name: str, table: Table) -> str:
    data = base64.b64encode(as_csv(table).encode()).decode()
    return f'<a download="{name}.csv" href="data:text/csv;base64,{data}">{name}.csv</a>'


def _table(table: Table, caption: str) -> str:
    texts = [
        any(isinstance(row[column], str) for row in table.rows)
        for column in range(len(table.columns))
    ]
    head = "".join(
        f'<th scope="col"{_text(is_text)}>{escape(name)}</th>'
        for name, is_text in zip(table.columns, texts, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<th scope="row" class="text">{escape(_shown(value))}</th>'
            if column == 0
            else f"<td{_text(texts[column], value)}>{escape(_shown(value))}</td>"
            for column, value in enumerate(row)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _text(is_text: bool, value: Value = "") -> str:
    wrong = isinstance(value, str) and value.startswith("no, outside")
    classes = " ".join(["text"] * is_text + ["no"] * wrong)
    return f' class="{classes}"' if classes else ""


def _shown(value: Value) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """Return four digits that count: ``0.4512``, ``12.3``, ``1500``."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cells(records: Sequence[Mapping[str, Any]]) -> str:
    rows: list[list[Value]] = []
    for record in records:
        shown = directions(record) if record["receipt"] else {}
        verdict = record["receipt"]["verdict"] if record["receipt"] else "–"
        row: list[Value] = [_label(record), record["repetition"], record["status"], verdict]
        for direction in DIRECTIONS:
            way = shown.get(direction)
            row += [record["network"][direction], *(_proof(way) if way else ("–", "–"))]
        settings = ", ".join(f"{name}={value}" for name, value in record["settings"].items())
        row += [settings or "defaults", record["clients"], record.get("took_s")]
        rows.append([*row, "; ".join(record["because"]) or "–"])
    ways = ("to the server", "from the server")
    table = Table(
        (
            "cell", "repetition", "status", "receipt",
            *(f"{way}, {what}" for way in ways for what in ("asked", "in effect", "calibrated")),
            "settings", "clients", "took (s)", "why",
        ),
        rows,
    )  # fmt: skip
    return (
        '<h2 id="cells">The cells and their networks</h2>'
        "<p>What was asked for, what the kernel showed before and after each cell, and what probes "
        "sent through that very path underwent just before it. No claim rests on a cell whose "
        "receipt is not “in effect”.</p>"
        f"{_table(table, 'Every cell with its network, settings and status')}"
        f"<p class='small'>{_download('cells', table)}</p>"
    )


def _proof(way: Mapping[str, Any]) -> tuple[str, str]:
    """Return what was in effect one way, and what the calibration measured there."""
    found = measured(way["calibration"]) or "–"
    if way["mechanism"] == "none":
        return "unimpaired", found
    seed = "" if way["seed"] is None else f", seed {way['seed']}"
    return f"{way['in_effect']} ({way['mechanism']}{seed})", found


def _method(
    experiment: Experiment, records: Sequence[Mapping[str, Any]], claims: Sequence[Claim]
) -> str:
    versions: Mapping[str, Any] = next((r["receipt"] for r in records if r["receipt"]), {})
    tools = ", ".join(
        f"{name} {versions[name]}" for name in ("kernel", "tc", "nft") if versions.get(name)
    )
    command = " ".join(records[0]["arguments"]) if records else ""
    return (
        '<h2 id="method">How this was measured</h2>'
        f"<p>In a lab of the experiment's own: server, sidecar and client in containers ({tools}). "
        "Each cell's network is put into effect by the sidecar and read back from the kernel; the "
        f"clients then run at the same time. The first cell's client: "
        f"<code>clients.{experiment.exercise} {escape(command)}</code>.</p>"
        f"<p>Darker bands hold {100 - 100 * USUAL:.0f} % of measured values, so one in twenty lies "
        "outside of them, as it should. Lighter bands are those that this report judges by. "
        "Counts have the exact binomial bands; means of attempts and waits those of the exact "
        "distribution (convolved as many times as there were requests), because waits that "
        "double while their probability halves are far from normal.</p>"
        f"<p>The experiment's file:</p><pre class='small'>{escape(experiment.text)}</pre>"
    )
