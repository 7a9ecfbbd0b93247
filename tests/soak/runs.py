"""Runners that are killed, paired, or get a clock that steps back, until their run is complete."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hybrid_batch.data.storage.open_storage import open_storage
from tests.conftest import COMMAND
from tests.run_logs import count_parts, read_records
from tests.self_kill import self_kill
from tests.soak.stepping_clock import COMPILER, stepping_clock

MAX_ATTEMPTS = 80
RUN_S = 300.0
SAME = ("image", "label", "prediction", "confidence", "top5", "error")


@dataclass(frozen=True)
class Weights:
    """How often a runner is started in each manner; 0 leaves one out."""

    plain: int = 1
    killed: int = 4
    two: int = 1
    clock: int = 1


@dataclass
class FaultyRun:
    """One run whose command is repeated until it succeeds. `kills` is the most runners that are killed on purpose."""

    chance: Random
    arguments: Sequence[str]
    log: str
    injected: Counter[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    kills: int = 10
    shards: int = 30
    refusals: Counter[str] = field(default_factory=Counter)

    def finish(self) -> None:
        """Repeat the command until it exits with 0."""
        weights = {name: getattr(self.weights, name) for name in ("plain", "killed", "two", "clock")}
        if COMPILER is None:
            weights["clock"] = 0
        for _ in range(MAX_ATTEMPTS):
            if self.kills <= 0:
                weights |= {"killed": 0, "plain": max(1, weights["plain"])}
            manner = self.chance.choices(list(weights), list(weights.values()))[0]
            ends = {
                "plain": lambda: [self._wait(self._start(COMMAND))],
                "killed": lambda: [self._wait(self._start(self._self_kill()))],
                "two": self._two,
                "clock": lambda: [self._with_stepping_clock()],
            }[manner]()
            if 0 in ends:
                return
        raise AssertionError(f"the run did not finish in {MAX_ATTEMPTS} attempts: {self.refusals}")

    def _two(self) -> list[int]:
        """Two runners on one run; one of them may be killed."""
        self.injected["two runners"] += 1
        programs = [COMMAND, self._self_kill() if self.kills > 0 else COMMAND]
        both = [self._start(program) for program in programs]
        return [self._wait(process) for process in both]

    def _self_kill(self) -> list[str]:
        return self_kill(self.chance.randrange(0, max(2, self.shards // 3)), self.chance.randrange(60))

    def _start(self, program: Sequence[str], **environment: str) -> "subprocess.Popen[str]":
        command = [*program, "run", *self.arguments, "--log", self.log]
        return subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | dict(self.environment) | environment,
        )

    def _wait(self, process: "subprocess.Popen[str]") -> int:
        """The exit code: 0, SIGKILL, or 1 with a sentence as the last line."""
        _, said = process.communicate(timeout=RUN_S)
        if process.returncode == -signal.SIGKILL:
            self.injected["runner killed"] += 1
            self.kills -= 1
        elif process.returncode:
            assert process.returncode == 1, said
            assert "Traceback" not in said, said
            self.refusals[said.strip().splitlines()[-1].partition(": ")[2][:60]] += 1
        return process.returncode

    def _with_stepping_clock(self) -> int:
        steps: list[int] = []
        with stepping_clock(self.chance, steps.append) as environment:
            code = self._wait(self._start(COMMAND, **environment))
        self.injected["clock stepped back"] += sum(step < 0 for step in steps) > 0
        return code


def check_log(log: str, expected: Sequence[Mapping[str, object]], killed: int) -> None:
    """Every image once, with the records of an undisturbed run, and at most two temporary files for each killed runner,
    which writes in two threads."""
    records = read_records(log)
    assert [{name: record[name] for name in SAME} for record in records] == list(expected)
    assert all(value >= 0 for record in records for name, value in record.items() if name.endswith("_us"))
    names = [entry.name.rpartition("/")[2] for entry in open_storage(log).list_files()]
    temporary = [name for name in names if name.startswith(".tmp-")]
    assert len(temporary) <= 2 * killed, temporary
    assert len(names) - len(temporary) == count_parts(log) + 3, names  # settings, images, totals


def undisturbed(arguments: Sequence[str], log: Path) -> list[dict[str, object]]:
    """The records of the same images without faults."""
    subprocess.run([*COMMAND, "run", *arguments, "--log", str(log)], check=True, stdout=subprocess.DEVNULL)
    return [{name: record[name] for name in SAME} for record in read_records(log)]
