"""What a run of an experiment leaves on disk, so that nothing measured is ever lost.

::

    results/retries-and-loss/2026-11-22T190318.975Z/
        experiment.toml     the file as it was
        run.json            when, on which kernel, with which sources
        cells/003-1/        cell 3, repetition 1:
            receipt.json    what proves its network, with the raw probes in calibration.json
            record.json     the receipt, and the raw output of the clients
            udp.pcapng      with CAPTURE=1: what the server's interface saw, and its ladder
        report.html         and plots/, tables/: made from the above, at any time again
    results/retries-and-loss/latest

A cell's record is there whole or not at all: it is written beside its place and renamed, after
fsync(2), so Ctrl-C, ``kill -9`` and a power cut cost the cell that was being measured and no other.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.experiments.plan import Experiment, parse_text
from lab.receipts import new_folder, results_folder

FORMAT = 1
RECORD = "record.json"

MEASURED = "measured"
REFUSED = "refused"
"""This kernel cannot do what the cell asks for."""
INVALID = "invalid"
"""Measured, but without proof that the network was what the cell asks for all the time."""
FAILED = "failed"
"""A client or the lab itself failed."""
STATUSES = (MEASURED, REFUSED, INVALID, FAILED)


class Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def created(cls, experiment: Experiment, facts: Mapping[str, Any]) -> "Run":
        """Return a new run of ``experiment``; ``latest`` points to it."""
        run = cls(new_folder(experiment.name))
        (run.folder / "cells").mkdir()
        write_whole(run.folder / "experiment.toml", experiment.text)
        write_json(run.folder / "run.json", {"format": FORMAT, "name": experiment.name, **facts})
        return run

    @classmethod
    def latest(cls, name: str) -> "Run | None":
        """Return the newest run of an experiment, or None."""
        folder = results_folder() / name / "latest"
        return cls(folder.resolve()) if (folder / "run.json").is_file() else None

    @classmethod
    def newest(cls) -> "Run | None":
        """Return the newest run of all experiments, or None."""
        found = [path.resolve() for path in results_folder().glob("*/latest/run.json")]
        return cls(max(found, key=lambda path: path.stat().st_mtime).parent) if found else None

    @property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says. Raises LabError."""
        return _object(self.folder / "run.json")

    @property
    def experiment(self) -> Experiment:
        """The experiment as it was when the run began. Raises LabError."""
        path = self.folder / "experiment.toml"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise LabError(
                f"reading {path}", error.strerror or str(error), "name a folder that holds a run"
            ) from None
        return parse_text(text, str(self.facts["name"]))

    def keep(self, record: Mapping[str, Any]) -> None:
        """Write what was measured of one cell in one repetition."""
        folder = self.cell_folder(record["cell"], record["repetition"])
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, {"format": FORMAT, **record})

    def status(self, cell: int, repetition: int) -> str | None:
        """Return what became of a cell, or None where nothing is there (or nothing readable)."""
        try:
            return str(_object(self.cell_folder(cell, repetition) / RECORD)["status"])
        except (LabError, KeyError):
            return None

    def cell_folder(self, cell: int, repetition: int) -> Path:
        """Return where everything about a cell belongs."""
        return self.folder / "cells" / f"{cell:03}-{repetition}"

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield every record, in the order of cells and repetitions. Raises LabError."""
        for path in sorted((self.folder / "cells").glob(f"*/{RECORD}")):
            record = _object(path)
            if record.get("format") != FORMAT or record.get("status") not in STATUSES:
                raise LabError(
                    f"reading {path}",
                    "that is no cell's record of this format",
                    "move that file away, and draw the report again",
                )
            yield record


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of one."""
    data = content.encode() if isinstance(content, str) else content
    new = path.with_name(f".{path.name}.new")
    with open(new, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document, whole or not at all."""
    write_whole(path, json.dumps(document, separators=(",", ":")) + "\n")


def _object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(
            f"reading {path}", str(error), "name a folder that holds a run: make report NAME=..."
        ) from None
    if not isinstance(document, dict):
        raise LabError(f"reading {path}", "that is no JSON object", "move that file away")
    return document
