"""The examples of docs/python.md run in their order, and print what their comments state."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hybrid_batch
from tests.conftest import ROOT
from tests.factories.records import random_records, write_run

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_examples_run_and_print_what_their_comments_state(tmp_path: Path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    program = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stated = re.findall(r"^print\(.*\)  # (.*)$", program, re.MULTILINE)
    assert len(stated) >= 4
    lines = iter(done.stdout.splitlines())
    assert all(line in lines for line in stated), done.stdout


def test_every_public_function_is_described():
    for name in hybrid_batch.__all__:
        assert f"| `{name}(" in PAGE


def test_importing_the_package_imports_nothing_heavy():
    program = (
        "import sys, hybrid_batch; print([m for m in ('numpy', 'click', 'pyarrow', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_notes_are_warnings_at_the_caller(tmp_path: Path):
    """A report does not state that its run is unfinished."""
    run = tmp_path / "run=x"
    write_run(str(run), random_records(40, ["cat", "dog"]), 20)
    (run / "part-00001.parquet").unlink()
    with pytest.warns(UserWarning, match="run=x is unfinished: 20 of its 40 images") as caught:
        report = hybrid_batch.evaluate(run)
    assert report["coverage"]["records"] == 20
    assert caught[0].filename == __file__
