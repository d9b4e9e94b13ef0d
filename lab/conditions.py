"""A scenario put into effect on the running lab, proven, and taken away again: ``make scenario``.

::

    apply ----> calibrate ----> again, where a seed ----> the run, or the timeline ----> read back
      |                         was asked for                                               |
      +-- what was before                                                      receipt.json +

The network changes at once and without a restart; a server with other settings is made anew, that
one alone. Ctrl-C brings back what was before.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import compose, lock, receipts, settings, sidecars
from lab.calibration import Judged, Observation, Prober, judged
from lab.calibration import run as send_probes
from lab.errors import LabError
from lab.interrupts import number_of, sigterm_as_interrupt
from lab.receipts import Evidence, Stretch, asked_impairments, packets_seen
from lab.say import say
from lab.scenario import (
    DIRECTIONS,
    OFF,
    Network,
    Scenario,
    all_scenarios,
    named,
    settings_for,
)
from lab.settings import EXERCISES, ROOT
from lab.sidecars import Kept, Refused
from services.events import timestamp

LOOK_BEFORE_STEP_S = 2.0
"""So long before a step of a timeline it is read back whether all is still as it should be, and the
sidecars are made ready."""


@dataclass(frozen=True)
class State:
    """What the lab was told, so that it can be brought back."""

    kept: Mapping[str, Kept] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Applied:
    """A scenario in effect: the sidecars' receipts, what was before, and how long it took."""

    receipts: Mapping[str, Mapping[str, Any]]
    before: State
    seconds: float


def apply(scenario: Scenario, exercises: Sequence[str] = EXERCISES) -> Applied:
    """Put a scenario into effect: all of it or, where it cannot be had, nothing.

    Only the servers named are concerned. Raises Refused, LabError.
    """
    begun = time.monotonic()
    answers = sidecars.apply(_orders(scenario, scenario.network, exercises))
    seconds = time.monotonic() - begun
    before = State(
        {exercise: answer.before for exercise, answer in answers.items()},
        settings.told_by_scenario(),
    )
    try:
        _tell(_told(scenario, exercises), exercises, anew=_seeded_servers(scenario, exercises))
    except BaseException:
        with _undisturbed():
            restore(before)
        raise
    return Applied({e: answer.receipt for e, answer in answers.items()}, before, seconds)


def restore(state: State) -> None:
    """Bring back what was before. Raises LabError."""
    sidecars.apply({exercise: kept.order() for exercise, kept in state.kept.items()})
    _tell(state.told, EXERCISES)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Bring back, after the body, what is in effect now, however the body ends."""
    receipts_now = sidecars.show(EXERCISES)
    kept = {}
    for exercise, receipt in receipts_now.items():
        words = {
            direction: "default" if way["source"] == "environment" else way["asked"]
            for direction, way in receipt["directions"].items()
        }
        kept[exercise] = Kept(words["from_server"], words["to_server"], receipt["name"])
    state = State(kept, settings.told_by_scenario())
    try:
        yield
    finally:
        with _undisturbed():
            restore(state)


def default() -> None:
    """Go back to what make up set up. Raises LabError."""
    sidecars.apply({exercise: Kept().order() for exercise in EXERCISES})
    _tell({}, EXERCISES)


def _orders(
    scenario: Scenario, network: Network, exercises: Sequence[str]
) -> dict[str, dict[str, str]]:
    return {
        exercise: {
            **{direction: getattr(network[exercise], direction) for direction in DIRECTIONS},
            "name": scenario.name,
        }
        for exercise in exercises
    }


def _told(scenario: Scenario, exercises: Sequence[str]) -> dict[str, str]:
    told = {n: v for e in exercises for n, v in scenario.settings_of(e).items()}
    # A schedule that make up was given would have the last word over a probability.
    if {"UDP_DROP", "UDP_SEED"} & set(told) and settings.effective("UDP_DROP_SCHEDULE"):
        told.setdefault("UDP_DROP_SCHEDULE", "")
    return told


def _seeded_servers(scenario: Scenario, exercises: Sequence[str]) -> list[str]:
    """Return those whose own random numbers are to begin anew."""
    return [e for e in exercises if any(n.endswith("_SEED") for n in scenario.settings_of(e))]


def _tell(told: Mapping[str, str], exercises: Sequence[str], anew: Sequence[str] = ()) -> None:
    """Tell the servers; make those anew that are told something else than before.

    Raises LabError, with the servers as they were.
    """
    before = settings.told_by_scenario()
    wanted = {
        name: value
        for name, value in before.items()
        if not any(name in settings_for(exercise) for exercise in exercises)
    } | dict(told)
    other = [
        exercise
        for exercise in EXERCISES
        if any(before.get(name) != wanted.get(name) for name in settings_for(exercise))
    ]
    if not (other or anew):
        return
    settings.tell(wanted)
    try:
        if other:
            _made_anew(other)
        if again := [exercise for exercise in anew if exercise not in other]:
            _made_anew(again, "--force-recreate")
    except BaseException:
        with _undisturbed():
            settings.tell(before)
            compose.run("up", "--detach", "--no-build", "--no-deps", "--wait", *other)
        raise


def _made_anew(servers: Sequence[str], *how: str) -> None:
    say(f"made anew, with other settings: {', '.join(servers)}")
    started = compose.run("up", "--detach", "--no-build", "--no-deps", "--wait", *how, *servers)
    if started.returncode != 0:
        raise LabError(
            "telling the servers their settings",
            f"{', '.join(servers)} did not become healthy with them",
            f"make logs SERVICE={servers[0]}; the old settings are back",
        )


def server_settings() -> dict[str, str]:
    """Return the settings that the servers' containers really have."""
    found = {}
    for container in compose.containers():
        exercise = compose.service_of(container)
        own = container["Config"]["Labels"].get("com.docker.compose.oneoff") == "False"
        if own and exercise in EXERCISES and container["State"]["Running"]:
            for assignment in container["Config"]["Env"]:
                name, _, value = assignment.partition("=")
                if name in settings_for(exercise) and value:
                    found[name] = value
    return found


# A run, measured ----------------------------------------------------------------------------------


@contextlib.contextmanager
def measured(
    scenario: Scenario,
    folder: Path,
    *,
    exercises: Sequence[str] = EXERCISES,
    calibrated: bool = True,
) -> Iterator[dict[str, Any]]:
    """Put a scenario into effect for the body, and leave ``receipt.json`` in ``folder``.

    Yields the receipt; what it says of the run stands in it when the body is over: ``valid`` is
    False if the run may have had another network than it was to have. The scenario stays in
    effect; a timeline is not run. Raises Refused (with a receipt left behind), LabError.
    """
    run = Run(scenario, folder, exercises)
    receipt: dict[str, Any] = {}
    try:
        run.begin(calibrated)
        receipt |= run.receipt()
        yield receipt
    except BaseException as error:
        with _undisturbed():
            run.end(cut_short="" if isinstance(error, Refused) else type(error).__name__)
            receipt |= run.receipt()
        raise
    run.end()
    receipt |= run.receipt()


class Run:
    """One run under a scenario, and the evidence that it leaves."""

    def __init__(
        self, scenario: Scenario, folder: Path, exercises: Sequence[str] = EXERCISES
    ) -> None:
        self.scenario = scenario
        self.folder = folder
        self.before = State()
        self._exercises = tuple(exercises)
        self._time = timestamp(time.time_ns())
        self._stretches: list[Stretch] = []
        self._calibration: dict[str, dict[str, Judged]] | None = None
        self._timeline: list[dict[str, Any]] = []
        self._settings: dict[str, str] = {}
        self._refused = self._cut_short = ""
        self._applied_s: float | None = None
        self._calibrated_s: float | None = None
        self._now: Network = {e: scenario.network[e] for e in exercises}
        self._since: Mapping[str, Mapping[str, Any]] = {}
        self._what = "the run"

    def begin(self, calibrated: bool = True) -> None:
        """Put the scenario into effect, and calibrate. Raises Refused, LabError."""
        containers = sidecars.running()
        there = all(f"{exercise}-netem" in containers for exercise in self._exercises)
        prober = Prober(len(self._exercises)) if calibrated and there else None
        try:
            try:
                applied = apply(self.scenario, self._exercises)
            except Refused as refused:
                self._refused = refused.cause
                raise
            self.before, self._applied_s = applied.before, applied.seconds
            self._since = applied.receipts
            if prober is not None:
                say(f"{self.scenario.name}: applied in {applied.seconds:.2f} s; calibrating")
                self._calibrate(containers, prober)
        finally:
            if prober is not None:
                prober.close()
        self._settings = server_settings()
        # What stays behind if this is killed.
        self._cut_short = "the run has not ended"
        receipts.write(self.receipt(), self.folder)
        self._cut_short = ""

    def _calibrate(self, containers: Mapping[str, str], prober: Prober) -> None:
        begun = time.monotonic()
        asked = asked_impairments(self._now)
        observed = send_probes(asked, containers, prober)
        after = sidecars.show(self._exercises)
        self._calibration = {
            exercise: {
                direction: judged(
                    observed[exercise][direction],
                    asked[exercise][direction],
                    after[exercise]["interface"],
                    packets_seen(
                        self._since[exercise]["directions"][direction],
                        after[exercise]["directions"][direction],
                    ),
                )
                for direction in DIRECTIONS
            }
            for exercise in self._exercises
        }
        self._stretches.append(Stretch("the calibration", self._now, self._since, after))
        self._since = after
        self._calibrated_s = time.monotonic() - begun
        _write_observations(self.folder, observed)
        if any(impairment and impairment.seed is not None
               for ways in asked.values() for impairment in ways.values()):  # fmt: skip
            # The probes have drawn from the sequences: the run is to have them from the beginning.
            answers = sidecars.apply(_orders(self.scenario, self._now, self._exercises))
            self._since = {e: answer.receipt for e, answer in answers.items()}

    def play(self) -> None:
        """Run the timeline in the foreground. Raises Refused, LabError."""
        begun = time.monotonic()
        for number, step in enumerate(self.scenario.timeline, 1):
            _wait_until(begun + step.at_s - LOOK_BEFORE_STEP_S)
            self._close_stretch()
            ready = sidecars.Ready(self._exercises)
            try:
                _wait_until(begun + step.at_s)
                orders = _orders(self.scenario, step.network, self._exercises)
                answers = ready.apply(orders)
            finally:
                ready.dismiss()
            done_s = time.monotonic() - begun
            self._now = {e: step.network[e] for e in self._exercises}
            self._since = {e: answer.receipt for e, answer in answers.items()}
            self._what = f"after step {number}"
            self._timeline.append(
                {"at_s": step.at_s, "in_effect_s": round(done_s, 3), "changes": step.changes}
            )
            say(f"{done_s:7.2f} s  {step.changes}")

    def end(self, cut_short: str = "") -> None:
        """Read back what is in effect at the end, and write the receipt."""
        self._cut_short = cut_short
        if self._since:
            try:
                self._close_stretch()
            except LabError as error:
                self._cut_short = self._cut_short or str(error)
        receipts.write(self.receipt(), self.folder)

    def receipt(self) -> dict[str, Any]:
        """Return the receipt as far as it goes by now."""
        stretches = list(self._stretches)
        if self._since and not (stretches and stretches[-1].after is self._since):
            stretches.append(Stretch(self._what, self._now, self._since, self._since))
        return receipts.judge(
            Evidence(
                scenario=self.scenario,
                stretches=stretches,
                calibration=self._calibration,
                settings=self._settings,
                timeline=self._timeline,
                refused=self._refused,
                cut_short=self._cut_short,
                lab=compose.project_name(),
                time=self._time,
                applied_s=self._applied_s,
                calibrated_s=self._calibrated_s,
            )
        )

    def _close_stretch(self) -> None:
        after = sidecars.show(self._exercises)
        self._stretches.append(Stretch(self._what, self._now, self._since, after))
        self._since = after


def _wait_until(instant_s: float) -> None:
    if (left_s := instant_s - time.monotonic()) > 0:
        time.sleep(left_s)


def _write_observations(folder: Path, observed: Mapping[str, Mapping[str, Observation]]) -> None:
    """Keep the raw data of the calibration beside the receipt: delays in microseconds."""
    document = {
        exercise: {
            direction: {
                "sent": seen.sent,
                "copies": [seen.copies.get(number, 0) for number in range(seen.sent)],
                "delays_us": {n: round(1e6 * delay_s, 1) for n, delay_s in seen.delays_s.items()},
                "trains_s": [
                    [at_s - min(train)[0] for at_s, _ in train] for train in seen.trains if train
                ],
            }
            for direction, seen in ways.items()
        }
        for exercise, ways in observed.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calibration.json").write_text(json.dumps(document), encoding="utf-8")


# The command --------------------------------------------------------------------------------------


def scenario_command() -> int:
    """List the scenarios, or put one into effect, as NAME of the environment says.

    Returns 0 if it is in effect, 1 if not or if nobody can tell, 130 and 143 after Ctrl-C and
    SIGTERM. Raises LabError.
    """
    name = os.environ.get("NAME", "")
    if not name:
        print(listing())
        return 0
    with alone():
        if name == OFF:
            default()
            say("back to what make up set up; make netem shows it")
            return 0
        return put_into_effect(named(name))


def put_into_effect(scenario: Scenario) -> int:
    """Put it into effect, prove it and play its timeline; return the exit status.

    ``CALIBRATE=no`` leaves the calibration out, and is then no reason for another status than 0.
    """
    calibrated = os.environ.get("CALIBRATE", "") not in ("no", "0", "off")
    folder = receipts.new_folder(scenario.name)
    run = Run(scenario, folder)
    try:
        with sigterm_as_interrupt():
            run.begin(calibrated)
            print(receipts.essence(run.receipt()), flush=True)
            if scenario.timeline:
                last_s = scenario.timeline[-1].at_s
                say(f"the timeline runs for {last_s:g} s here; Ctrl-C brings back what was before")
                run.play()
            run.end()
    except KeyboardInterrupt as interrupt:
        with _undisturbed():
            run.end(cut_short=number_of(interrupt).name)
            if run.before.kept:
                restore(run.before)
                say("what was before is in effect again")
        return 128 + number_of(interrupt)
    except LabError as error:
        with _undisturbed():
            run.end(cut_short="" if isinstance(error, Refused) else error.cause)
            if run.before.kept:
                restore(run.before)
        raise
    receipt = run.receipt()
    if scenario.timeline:
        print(receipts.headline(receipt))
    print(f"receipt: {_shown(folder / 'receipt.json')}")
    return 0 if receipt["valid"] or (receipt["verdict"] == "cannot tell" and not calibrated) else 1


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def listing() -> str:
    """Return the scenarios, a line each, with a mark at the one that is in effect."""
    scenarios = all_scenarios()
    name, changed = in_effect()
    widest = max(len(scenario.name) for scenario in scenarios)
    lines = []
    for scenario in scenarios:
        mark = "*" if scenario.name == name else " "
        needs = "" if scenario.is_loss_alone else " (needs netem)"
        lines.append(f"{mark} {scenario.name:<{widest}}  {scenario.description}{needs}")
    if name:
        lines.append(f"* {changed or f'{name} is in effect'}; make scenario NAME=off ends it")
    else:
        lines.append("None is in effect. make scenario NAME=exam puts one into effect.")
    return "\n".join(lines)


def in_effect() -> tuple[str, str]:
    """Return the name of the scenario in effect, and what is not as it says; "" for neither."""
    try:
        shown = sidecars.show(EXERCISES)
    except LabError:  # no engine, or no lab: the list is as good without it
        return "", ""
    names = {receipt["name"] for receipt in shown.values()} - {""}
    if not names:
        return "", ""
    name = sorted(names)[0]
    try:
        scenario = named(name)
    except LabError:
        return name, f"{name} is in effect, but its file is gone or wrong"
    other = [
        f"{exercise}, {receipts.WAYS[direction]}: {receipt['directions'][direction]['asked']}"
        for exercise, receipt in shown.items()
        for direction in DIRECTIONS
        if receipt["directions"][direction]["asked"]
        != getattr(scenario.network[exercise], direction)
    ]
    bad = [exercise for exercise, r in shown.items() if r["verdict"] != "in effect"]
    if bad:
        return name, f"{name} is NOT in effect for {', '.join(bad)} (make netem says why)"
    ways = len(DIRECTIONS) * len(EXERCISES)
    changed = f"{name} was changed since ({len(other)} of {ways} ways, as {''.join(other[:1])})"
    return name, changed if other else ""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the lock of this lab's scenarios. Raises LabError while another holds it."""
    refusal = LabError(
        "changing the scenario",
        "another make scenario is at work on this lab, perhaps in a timeline",
        "wait for it, or end it with Ctrl-C; make reset goes ahead in any case",
    )
    with lock.held(f"scenario-{compose.project_name()}", refusal):
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C leave half of it undone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
