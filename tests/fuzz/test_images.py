"""Images of strangers, mutated, in every format: decoded or refused in one line, in bounded memory and time.

`make fuzz` decodes 100,000 of them in about two minutes of processor time, `make test` 2,000."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in kB")]

MEMORY_MB = 400  # 300 of a server's budget for one image, and what the C library keeps
PER_PROCESS = 25_000


@pytest.mark.timeout(3600)
def test_mutated_images_are_decoded_or_refused(rounds: Callable[[int, int], int]) -> None:
    count = rounds(2000, 100_000)
    first_seed = 1 if count == 2000 else random.randrange(1 << 32)
    outcomes: dict[str, Counter[str]] = {}
    for number, start in enumerate(range(0, count, PER_PROCESS)):
        images = str(min(PER_PROCESS, count - start))
        program = [sys.executable, "-m", "tests.fuzz.mutated_images", str(first_seed + number), images, str(MEMORY_MB)]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
        assert done.returncode == 0, f"seed {first_seed + number}: {done.returncode} {done.stderr[-4000:]}"
        totals = json.loads(done.stdout)
        print(f"\nimages: {totals}")  # noqa: T201
        for name, found in totals["outcomes"].items():
            outcomes.setdefault(name, Counter()).update(found)
    assert sum(found.total() for found in outcomes.values()) == count
    # Mutations reach what is behind the header: of every format some are decoded and some refused.
    assert all(found["decoded"] > 0 and found["refused"] > 0 for found in outcomes.values()), outcomes
