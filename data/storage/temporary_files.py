"""Temporary files and folders: locked by the process that writes them, so that those of killed processes are known.

The kernel releases a lock when its process ends, also by SIGKILL. A file without a lock that is older than a moment is
abandoned. Ages are measured with the clock of the file system, by a file that was made just now: on NFS it differs from
the clock of this machine. A file system without locks has only the age.
"""

import fcntl
import os
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path

_LOCKED_AGE_S = 10.0  # between making a file and locking it
_UNLOCKED_AGE_S = 86_400.0  # without locks; writing a file takes seconds


def lock(descriptor: int) -> None:
    """Lock an open temporary file or folder until it is closed, where the file system can."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_abandoned(folder: Path, names: re.Pattern[str], now_s: float) -> None:
    """Remove the temporary files and folders of killed processes, which have these names. `now_s` is the modification
    time of a new file in the folder. What cannot be removed is left."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if names.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_abandoned(Path(entry.path), now_s)


def _remove_if_abandoned(path: Path, now_s: float) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        age_s = now_s - status.st_mtime
        if age_s < _LOCKED_AGE_S or status.st_uid != os.geteuid():
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process is running
            return
        except OSError:
            if age_s < _UNLOCKED_AGE_S:
                return
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
