"""The logs of a job in S3, and the line that explains its failure."""

import gzip
import re
from collections.abc import Iterable

from hybrid_batch.data.storage.storage import Entry
from hybrid_batch.emr.jobs.submitted_job import LogLocation

_MOST_FILES = 40
_OWN_ERROR = re.compile(r"^hybrid-batch: (.+)")
_PYTHON = re.compile(r"^(?!java\.|org\.|scala\.|com\.)(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt): .+")
_JAVA = re.compile(r"^(?:Caused by: |Exception in thread .*?|Error: )?((?:\w+\.)+[A-Z]\w*(?:Error|Exception): .+)")
_SHELL = re.compile(r".*(?:command not found|No such file or directory|Permission denied|Killed|OutOfMemory).*")
_LEVEL = re.compile(r"^\S+ \S+ (?:ERROR|FATAL) (.+)")
_BY_PRIORITY = (_OWN_ERROR, _PYTHON, _JAVA, _SHELL, _LEVEL)


def read_logs(logs: LogLocation) -> dict[str, str]:
    """Return the texts of at most 40 log files of a job by name, in the order of the prefixes. Raises StorageFailed."""
    names = [entry.name for prefix in logs.prefixes for entry in _sorted_entries(logs, prefix)]
    return {name: _text(logs.storage.read(name), name) for name in names[:_MOST_FILES]}


def _sorted_entries(logs: LogLocation, prefix: str) -> list[Entry]:
    """Return the files below a prefix, standard error first, because Python writes tracebacks to it."""
    return sorted(logs.storage.list_files(prefix), key=lambda entry: ("stderr" not in entry.name, entry.name))


def failure_line(texts: Iterable[str]) -> str | None:
    """Return the line that explains a failure best, or None: this program's own error, else the end of a Python
    traceback, else a Java exception, else an error of the shell, else a line logged as an error. The last line of a
    kind wins, because earlier ones are often warnings."""
    lines = [line.strip() for text in texts for line in text.splitlines()]
    for pattern in _BY_PRIORITY:
        for line in reversed(lines):
            if match := pattern.match(line):
                return match[match.lastindex or 0]
    return None


def _text(content: bytes, name: str) -> str:
    try:
        return (gzip.decompress(content) if name.endswith(".gz") else content).decode(errors="replace")
    except (OSError, EOFError):
        return ""  # EMR is still uploading the file
