"""10,000 images through a queue while its workers are killed at random: `make soak` takes more than a minute."""

import os
import random
import subprocess
import time
from collections import Counter

import pytest

from tests.conftest import COMMAND
from tests.queue.conftest import IMAGES
from tests.run_logs import read_records, without_times

COUNT, WORKERS, VISIBILITY_S = 10_000, 3, 3


@pytest.mark.timeout(1800)
def test_ten_thousand_images_while_workers_are_killed(make_queue, start_worker, tmp_path):
    images = sorted(IMAGES.rglob("*.png"))
    for number in range(COUNT):
        path = tmp_path / "images" / images[number % len(images)].parent.name / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(images[number % len(images)], path)
    work_queue = make_queue(visibility_s=VISIBILITY_S)
    run = [*COMMAND, "run", str(tmp_path / "images"), "--split", "c005", "--batch-size", "4", "--shard-size", "100"]
    workers = [start_worker(work_queue) for _ in range(WORKERS)]
    began = time.monotonic()
    runner = subprocess.Popen([*run, "--log", str(tmp_path / "log"), "--tail", f"sqs:{work_queue.name}"])
    random_source, kills, received = random.Random(), 0, 0
    while runner.poll() is None:
        time.sleep(random_source.uniform(0.2, 2))
        victim = random_source.randrange(WORKERS)
        workers[victim].kill()
        received += work_queue.count(visible=False)
        kills += 1
        workers[victim] = start_worker(work_queue)
    spent_s = time.monotonic() - began
    assert runner.returncode == 0
    records = read_records(tmp_path / "log")
    assert Counter(record["image"] for record in records) == Counter(
        str(path.relative_to(tmp_path / "images")) for path in (tmp_path / "images").rglob("*.png")
    )
    assert Counter(record["error"] for record in records) == {None: COUNT}
    assert (work_queue.count("-dead"), work_queue.replies()) == (0, [])
    subprocess.run([*run, "--log", str(tmp_path / "local"), "--tail", "local"], check=True)
    local = [(record["image"], record["prediction"]) for record in without_times(read_records(tmp_path / "local"))]
    assert [(record["image"], record["prediction"]) for record in records] == local
    print(f"\n{COUNT} images, {kills} workers killed, {received} received messages, {spent_s:.0f} s")  # noqa: T201
