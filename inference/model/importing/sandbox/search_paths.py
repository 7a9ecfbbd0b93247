"""What an import must read beside the model: Python, its libraries, and facts about the machine."""

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from hybrid_batch import data

_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/etc/ld.so.preload"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/sys/kernel"),
    *("/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)
_NETWORK = (
    *("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services"),
    *("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/run/systemd/resolve"),
)
_LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# The settings that the import's process takes over; all others may be secrets, or change what Python loads.
_SETTINGS = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", *_LIBRARIES, "OMP_NUM_THREADS")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_NETWORK_SETTINGS = ("http_proxy", "https_proxy", "no_proxy", *_CERTIFICATES)


def python_paths() -> list[str]:
    """The search path for the import's process: that of this process without the working folder, whose files may be a
    stranger's. It stays if it holds this package."""
    package = _package()
    working = {"", str(Path.cwd())}
    return list(dict.fromkeys([*(path for path in sys.path if path not in working), str(package.parent)]))


def readable_paths(search: Iterable[str], *, network: bool) -> tuple[Path, ...]:
    """Files and folders that the import's process must read to run Python and its libraries. The folder of this
    package's source is represented by the folders of its modules."""
    package = _package()
    installed = [*_SYSTEM, sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    installed += sysconfig.get_paths().values()
    stated = [path for name in _LIBRARIES for path in os.environ.get(name, "").split(os.pathsep) if path]
    stated += [path for path in search if Path(path) != package.parent]
    if network:
        installed += _NETWORK
        stated += [os.environ[name] for name in _CERTIFICATES if name in os.environ]
    paths = [*map(Path, installed), *(path for path in map(Path, stated) if not _holds_home(path))]
    paths += [package, *(entry.resolve() for entry in package.iterdir())]
    return tuple(path for path in dict.fromkeys(paths) if path != Path("/"))  # the prefix of some installations


def listed_paths() -> tuple[Path, ...]:
    """Folders that the import's process must list: the one in which Python finds this package."""
    return (_package().parent,)


def environment(temporary: Path, *, network: bool) -> dict[str, str]:
    """The environment of the import's process, which holds no secret and no setting of Python."""
    keras = keras_folder() if network else temporary
    own = {"HOME": str(temporary), "TMPDIR": str(temporary), "KERAS_HOME": str(keras), "CUDA_VISIBLE_DEVICES": "-1"}
    return dict(_kept(network=network)) | own


def keras_folder() -> Path:
    """The user's folder of Keras, with the weights that it has downloaded."""
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))


def _kept(*, network: bool) -> Iterator[tuple[str, str]]:
    for name in (*_SETTINGS, *(_NETWORK_SETTINGS if network else ())):
        for spelling in (name, name.upper()):
            if spelling in os.environ:
                yield spelling, os.environ[spelling]


def _package() -> Path:
    return Path(data.__file__).parents[1]


def _holds_home(path: Path) -> bool:
    """Whether a folder is the user's home or holds it, such as one that PYTHONPATH names."""
    return Path.home().resolve().is_relative_to(path.resolve())
