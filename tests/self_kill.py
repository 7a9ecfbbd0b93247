"""A runner that sends a signal to itself at a chosen point of its work, so that the signal never arrives too late."""

import sys
from signal import SIGKILL, Signals

from tests.conftest import ROOT

PROGRAM = f"""
import os, sys, threading
sys.path.insert(0, {str(ROOT)!r})
from hybrid_batch.cli import main
from hybrid_batch.data.log.runs import RunFolder

shards, actions, number = (int(sys.argv.pop(1)) for _ in range(3))
commit, counting = RunFolder.commit, threading.Lock()

def commit_and_count(*arguments):
    global shards
    committed = commit(*arguments)
    with counting:
        shards -= 1
    return committed

def watch(*_):
    global actions
    if shards <= 0:
        with counting:
            actions -= 1
            due = actions == -1
        if due:
            os.kill(os.getpid(), number)

RunFolder.commit = commit_and_count
sys.addaudithook(watch)
sys.exit(main(sys.argv[1:]))
"""


def self_kill(shards: int, actions: int = 0, number: Signals = SIGKILL) -> list[str]:
    """The start of a `hybrid-batch` command line whose process sends itself the signal `number` after `shards` commits
    and then `actions` audit events of Python: files opened, linked and removed, requests sent."""
    return [sys.executable, "-c", PROGRAM, str(shards), str(actions), str(int(number))]
