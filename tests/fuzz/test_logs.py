"""Mutated parts, lists of images and files of runs: read or refused with one sentence, in bounded memory and time."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hybrid_batch.data.log.records import to_table
from tests.conftest import HANG_S, ROOT
from tests.factories.hostile_parts import parquet
from tests.factories.records import random_records, write_run

SEED = 2026
MEMORY_BYTES = 3 << 30

# A process of its own: its memory is limited, and a crash of a library is a failure of this test alone.
MUTATE = """
import io, json, random, resource, shutil, sys, time
from pathlib import Path
from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.data.log.run_list import list_run
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.inference.runner.totals import Totals
from hybrid_batch.jobs.evaluate_inline import count
from hybrid_batch.jobs.input.part_list import Part
from hybrid_batch.jobs.output.export import FORMATS

folder, seed, rounds, memory = Path(sys.argv[1]), *map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_AS, (memory, -1))
choose = random.Random(seed)
run = RunFolder(open_storage(str(folder)))
READERS = {
    "part-00000.parquet": (
        lambda: build_report(count([Part(str(folder), 0)], threads=1)),
        lambda: Totals.of_shards(run, [0]),
        lambda: FORMATS[choose.choice(sorted(FORMATS))](run, io.BytesIO()),
    ),
    "_images.pq": (run.images, run.count_images),
    "_run.json": (run.settings, lambda: list_run(run)),
    "_SUCCESS": (run.totals, lambda: list_run(run)),
}
VARIANTS = {name: [path.read_bytes() for path in sorted(folder.glob(f"{name}*"))] for name in READERS}

def mutate(content):
    content = bytearray(content)
    # Footers and page headers decide what is allocated, so half of the changes are in the last or first bytes.
    places = [(0, len(content)), (max(0, len(content) - 4000), len(content)), (0, min(len(content), 4000))]
    for _ in range(choose.choice((1, 1, 2, 4, 16))):
        first, last = choose.choice(places)
        at = min(choose.randrange(first, max(last, first + 1)), len(content) - 1)
        kind = choose.randrange(5)
        if kind == 0:
            content[at] ^= 1 << choose.randrange(8)
        elif kind == 1:
            content[at] = choose.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            content[at : at + choose.randrange(1, 9)] = bytes([255] * choose.randrange(1, 9))
        elif kind == 3:
            del content[at : at + choose.randrange(1, 64)]
        else:
            content[at:at] = content[first : first + choose.randrange(1, 64)]
        if not content:
            content = bytearray(b"x")
    return bytes(content)

seen = {"read": 0, "refused": 0, "slowest_s": 0.0}
for turn in range(rounds):
    name = choose.choice(["part-00000.parquet"] * 5 + ["_images.pq", "_run.json", "_SUCCESS"])
    honest = VARIANTS[name]
    (folder / name).write_bytes(mutate(choose.choice(honest)))
    for read in READERS[name]:
        start = time.process_time()
        try:
            read()
            seen["read"] += 1
        except HybridBatchError as error:
            assert "\\n" not in str(error), str(error)
            seen["refused"] += 1
        except Exception:
            shutil.copy(folder / name, folder / f"failed-{turn}-{name}")
            print(turn, name, file=sys.stderr)
            raise
        seen["slowest_s"] = max(seen["slowest_s"], time.process_time() - start)
    (folder / name).write_bytes(honest[0])
print(json.dumps(seen))
"""


def test_mutated_files_of_a_run_are_read_or_refused(tmp_path: Path, rounds: Callable[[int, int], int]) -> None:
    run = tmp_path / "run=x"
    records = random_records(300, list("abcdef"), SEED)
    write_run(str(run), records, 300)
    table = to_table(records)
    for place, options in enumerate(({"compression": "none"}, {"use_dictionary": False}, {"data_page_version": "2.0"})):
        (run / f"part-00000.parquet.variant{place}").write_bytes(parquet(table, **options))
    (run / "part-00000.parquet.variant3").write_bytes(parquet(table, row_group_size=50, data_page_size=200))
    count = rounds(150, 20_000)
    result = subprocess.run(
        [sys.executable, "-c", MUTATE, str(run), str(SEED), str(count), str(MEMORY_BYTES)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=HANG_S + count / 10,
    )
    assert result.returncode == 0, f"seed {SEED}: {result.stderr}"
    seen = json.loads(result.stdout)
    sys.stdout.write(f"seed {SEED}, {count} mutations: {seen}\n")
    assert seen["refused"] > count / 4
    assert seen["slowest_s"] < 20
