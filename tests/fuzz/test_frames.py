"""Frames, replies, messages and JSON documents of strangers, mutated: refused in one sentence, in little memory.

`make fuzz` decodes 1,000,000 of them in about six minutes of processor time, `make test` 3,000."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

MEMORY_MIB = 192  # what mutations of at most 400 kB may allocate beyond what the process held before the first
PER_PROCESS = 100_000


@pytest.mark.timeout(3600)
def test_mutated_frames_are_decoded_or_refused(rounds: Callable[[int, int], int]):
    count = rounds(3000, 1_000_000)
    first_seed = 1 if count == 3000 else random.randrange(1 << 32)
    outcomes: dict[str, Counter[str]] = {}
    for number, start in enumerate(range(0, count, PER_PROCESS)):
        mutations = str(min(PER_PROCESS, count - start))
        program = [sys.executable, "-m", "tests.fuzz.mutated_frames", str(first_seed + number), mutations]
        done = subprocess.run(
            [*program, str(MEMORY_MIB)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=3000
        )
        assert done.returncode == 0, done.stderr[-4000:]
        totals = json.loads(done.stdout)
        print(f"\nframes: {totals}")  # noqa: T201
        for name, found in totals["outcomes"].items():
            outcomes.setdefault(name, Counter()).update(found)
    assert sum(found.total() for found in outcomes.values()) == count
    # Mutations reach what is behind the first check: some are valid, and both sides refuse with several errors.
    assert outcomes["requests"].keys() >= {"200", "400", "409"}
    assert outcomes["replies"].keys() >= {"decoded", "InvalidFrame", "TailRefused"}
    assert outcomes["queue messages"].keys() == {"decoded", "InvalidFrame"}
    assert "decoded" in outcomes["documents of a tail"]
    print(f"\nframes, seeds from {first_seed}: { ({name: dict(found) for name, found in outcomes.items()}) }")  # noqa: T201
