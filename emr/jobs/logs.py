"""The logs of a job in S3, and the one line of them that says why it failed."""

import gzip
import re
from collections.abc import Iterable

from hybrid_batch.data.storage.storage import Entry
from hybrid_batch.emr.jobs.state import Logs

_MOST_FILES = 40
_OURS = re.compile(r"^hybrid-batch: (.+)")
_PYTHON = re.compile(r"^(?!java\.|org\.|scala\.|com\.)(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt): .+")
_JAVA = re.compile(r"^(?:Caused by: |Exception in thread .*?|Error: )?((?:\w+\.)+[A-Z]\w*(?:Error|Exception): .+)")
_SHELL = re.compile(r".*(?:command not found|No such file or directory|Permission denied|Killed|OutOfMemory).*")
_LEVEL = re.compile(r"^\S+ \S+ (?:ERROR|FATAL) (.+)")
_TELLING = (_OURS, _PYTHON, _JAVA, _SHELL, _LEVEL)


def read_logs(logs: Logs) -> dict[str, str]:
    """The texts of the job's log files by name, in the order of the prefixes; at most 40 files.

    Raises StorageFailed."""
    names = [entry.name for prefix in logs.prefixes for entry in _sorted_entries(logs, prefix)]
    return {name: _text(logs.storage.read(name), name) for name in names[:_MOST_FILES]}


def _sorted_entries(logs: Logs, prefix: str) -> list[Entry]:
    """The files below a prefix: standard error first, for it is where Python says why it ends."""
    return sorted(logs.storage.entries(prefix), key=lambda entry: ("stderr" not in entry.name, entry.name))


def telling_line(texts: Iterable[str]) -> str | None:
    """The line that says most about a failure: our own sentence, else the end of a Python trace, else Java's,
    else what a shell says. Of equals the last, for what comes first is often only a warning."""
    lines = [line.strip() for text in texts for line in text.splitlines()]
    for pattern in _TELLING:
        for line in reversed(lines):
            if match := pattern.match(line):
                return match[match.lastindex or 0]
    return None


def _text(content: bytes, name: str) -> str:
    try:
        return (gzip.decompress(content) if name.endswith(".gz") else content).decode(errors="replace")
    except (OSError, EOFError):
        return ""  # EMR is still writing it
