"""The process that imports a model has no rights beyond its work, ends within its limits, and leaves nothing behind."""

import base64
import ctypes
import json
import marshal
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import HybridBatchError, ModelRefused
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH
from hybrid_batch.inference.model.importing.sandbox import conversation, isolated_import
from hybrid_batch.inference.model.importing.sandbox.child_process import ImportRequest
from hybrid_batch.inference.model.importing.sandbox.isolated_import import import_isolated
from hybrid_batch.inference.model.importing.sandbox.landlock import landlock_version
from hybrid_batch.inference.model.importing.sandbox.limits import ImportLimits, Protections
from hybrid_batch.inference.model.runtimes.graph_nodes import read_ops
from tests.conftest import COMMAND, HANG_S, ROOT

pytestmark = [pytest.mark.child, pytest.mark.slow]
SAMPLE = ROOT / "data/digits/digits.keras"
linux_only = pytest.mark.skipif(not landlock_version(), reason="this system has no Landlock")

# What a model that has taken over the process might do. Each line must fail.
FILES = """
open(SECRET).read()
open(TARGET, 'w')
os.mkdir(TARGET)
os.symlink(SECRET, TARGET)
os.mknod(TARGET)
os.truncate(SECRET, 0)
os.unlink(SECRET)
os.rename(SECRET, SECRET + 'x')
os.link(SECRET, OWN + '/link')
open(OWN + '/symbolic').read()
os.chmod(SECRET, 0o666)
os.chown(SECRET, 1, 1)
os.utime(SECRET, (1, 1))
os.setxattr(SECRET, 'user.a', b'a')
os.listdir(os.path.dirname(SECRET))
open(f'/proc/{PARENT}/environ').read()
open(f'/proc/{PARENT}/cmdline').read()
open('/etc/passwd').read()
open('/dev/shm/hybrid-batch-test', 'w')
"""
NETWORK = """
socket.socket(socket.AF_INET, socket.SOCK_STREAM)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
"""
PROCESSES = """
socket.socket(socket.AF_UNIX)
socket.socket(40, socket.SOCK_STREAM)
socket.socketpair()
os.fork()
os.posix_spawn('/bin/true', ['true'], {})
subprocess.run(['true'])
os.execv('/bin/true', ['true'])
os.kill(PARENT, 0)
os.pidfd_open(PARENT)
os.memfd_create('a')
os.setpriority(os.PRIO_PROCESS, PARENT, os.getpriority(os.PRIO_PROCESS, PARENT))
os.sched_setaffinity(PARENT, os.sched_getaffinity(PARENT))
os.sched_setscheduler(PARENT, os.SCHED_IDLE, os.sched_param(0))
os.setpgid(0, 0)
os.truncate(OWN + '/own', 0)
open(os.open(SYSTEM, os.O_RDONLY | os.O_TRUNC))
fcntl.flock(os.open(SYSTEM, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.fcntl(0, fcntl.F_SETOWN, PARENT)
fcntl.fcntl(os.pipe()[0], 10, 9)
fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0x40086602, bytes(8))
resource.prlimit(PARENT, resource.RLIMIT_NOFILE, (9, 9))
resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))
bytearray(9 << 30)
"""
# Numbers of x86_64: io_uring_setup, shmget, ptrace, unshare, kexec_load, clone of a process, x32's socket; shmctl,
# shmat, msgctl and semctl, which reach memory and messages of others; ioprio_set, mq_unlink, prctl of the signal at the
# parent's end, inotify_init, landlock_create_ruleset, open_tree_attr, getpriority, personality, madvise of a test;
# and all that are not listed.
CALLS = """
call(425, 4, ctypes.create_string_buffer(120))
call(29, 0, 4096, 0o1600)
call(101, 16, PARENT, 0, 0)
call(272, 0x10000000)
call(246, 0, 0, 0, 0)
call(56, 17, 0, 0, 0, 0)
call(0x40000000 + 41, 2, 1, 0)
call(31, 0, 14, ctypes.create_string_buffer(256))
call(31, segment(), 2, ctypes.create_string_buffer(256))
call(30, segment(), 0, 0)
call(71, 0, 3, ctypes.create_string_buffer(256))
call(66, 0, 0, 3, ctypes.create_string_buffer(256))
call(251, 1, PARENT, 3 << 13)
call(241, b'/hybrid-batch-test')
call(157, 1, 0, 0, 0, 0)
call(253)
call(444, 0, 0, 1)
call(467, -100, b'/', 0x1000, 0, 0)
call(140, 0, PARENT)
call(135, 0xFFFFFFFF)
call(28, ctypes.addressof(ctypes.create_string_buffer(1)) & -4096, 4096, 101)
[number for number in range(1024) if not listed(number) and reaches_the_kernel(number)] or call(-1)
"""
PROGRAM = """
import ctypes, fcntl, os, resource, socket, subprocess, sys, threading
from pathlib import Path
from hybrid_batch.inference.model.importing.sandbox import system_calls
from hybrid_batch.inference.model.importing.sandbox.child_process import protect
from hybrid_batch.inference.model.importing.sandbox.landlock import FileAccess
from hybrid_batch.inference.model.importing.sandbox.limits import ImportLimits
from hybrid_batch.inference.model.importing.sandbox.search_paths import python_paths, readable_paths
SECRET, TARGET, OWN, attempts, network = sys.argv[1:]
PARENT = os.getppid()
SYSTEM = '/dev/null'
def call(*numbers):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(*numbers) < 0:
        raise OSError(ctypes.get_errno(), 'refused')
def listed(number):
    rows = [*system_calls.ALLOWED.values(), *(rule.numbers for rule in system_calls.rules(0, network=False))]
    return number in [row[0] for row in rows] or number in (335, 336)  # uprobe calls, which seccomp does not see
def reaches_the_kernel(number):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(number, -1, -1, -1, -1, -1, -1) >= 0 or ctypes.get_errno() != 38
access = FileAccess(readable_paths(python_paths(), network=bool(network)), writable=(Path(OWN),))
protections = protect(ImportLimits(1 << 33, 60), access, network=bool(network))
assert protections.landlock and protections.seccomp, protections
Path(OWN, 'own').write_text('the output')
import encodings.idna, sqlite3
thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
for line in attempts.split(chr(10)):
    try:
        exec(line)
    except (OSError, ValueError, MemoryError):
        continue
    if line:
        print('succeeded:', line)
print('end')
"""


def attempt(folder: Path, attempts: str, *, network: bool = False) -> list[str]:
    """Run the attempts in a protected process; the lines of those that succeeded."""
    secret, own = folder / "home" / "secret", folder / "own"
    secret.parent.mkdir()
    own.mkdir()
    secret.write_text("token")
    (own / "symbolic").symlink_to(secret)
    before = _facts(secret)
    target = folder / "home" / "taken"
    arguments = [str(secret), str(target), str(own), attempts, "network" if network else ""]
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=HANG_S, check=True
    )
    assert secret.read_text() == "token"
    assert _facts(secret) == before
    assert [entry.name for entry in secret.parent.iterdir()] == ["secret"]
    *succeeded, end = found.stdout.splitlines()
    assert end == "end"
    return succeeded


def _facts(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns, found.st_nlink


@pytest.fixture
def segment() -> Iterator[str]:
    """A segment of shared memory of this process, by its id."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.shmget(0, 4096, 0o1600)
    yield str(number)
    libc.shmctl(number, 0, None)


@linux_only
def test_the_process_has_no_rights_but_its_work(tmp_path: Path, segment: str) -> None:
    calls = CALLS.replace("segment()", segment) if os.uname().machine == "x86_64" else ""
    assert attempt(tmp_path, FILES + NETWORK + PROCESSES + calls) == []


@linux_only
def test_a_download_gets_the_internet_and_nothing_else(tmp_path: Path) -> None:
    assert attempt(tmp_path, FILES + NETWORK + PROCESSES, network=True) == [
        f"succeeded: {line}" for line in NETWORK.split("\n") if line
    ]


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


def children() -> set[psutil.Process]:
    """The processes that this one has started, those of fixtures included."""
    return set(psutil.Process().children(recursive=True))


def test_a_model_is_imported_in_another_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scale", "0-1", "--classes", str(ROOT / "data/digits/classes.txt"), "--json", "-v"]
    before = set(sys.modules)
    assert main(["import", str(SAMPLE), "-o", str(tmp_path / "made.bundle"), *arguments]) == 0
    assert not {"tensorflow", "keras", "h5py"} & (set(sys.modules) - before)
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts["sha256"] == read_bundle(BUILT_IN_PATH).sha256
    assert read_bundle(tmp_path / "made.bundle").sha256 == facts["sha256"]
    assert facts["protections"] | {"landlock": 0, "seccomp": True} == {
        "landlock": 0,
        "seccomp": True,
        "network": False,
        "memory_bytes": 16 << 30,
        "time_s": 900.0,
    }
    assert facts["protections"]["landlock"] == landlock_version()
    (line,) = [line for line in err.splitlines() if line.startswith("import process: ")]
    assert line.endswith("at most 16 GiB and 900 s")
    assert not leftovers(tmp_path)


THEFT = """
def call(x):
    import os, socket
    done = []
    for name, attempt in (
        ("read", lambda: open({secret!r}).read()),
        ("write", lambda: open({target!r}, "w")),
        ("chmod", lambda: os.chmod({secret!r}, 0o666)),
        ("connect", lambda: socket.create_connection(("127.0.0.1", {port}), 5)),
        ("fork", os.fork),
        ("environment", lambda: os.environ["AWS_SECRET_ACCESS_KEY"]),
        ("parent", lambda: open("/proc/%d/environ" % os.getppid()).read()),
    ):
        try:
            attempt()
            done.append(name)
        except (OSError, KeyError):
            pass
    if done:
        raise RuntimeError("succeeded: %s." % done)
    import tensorflow
    return tensorflow.tan(x)
"""


def trusted_model(path: Path, source: str) -> Path:
    """A file with a layer whose code is the function `call` of the source."""
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - the code of the model
    code = base64.b64encode(marshal.dumps(names["call"].__code__)).decode()
    function = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}
    with zipfile.ZipFile(SAMPLE) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "config.json":
                model = json.loads(data)
                layer = next(layer for layer in model["config"]["layers"] if layer["class_name"] == "ReLU")
                layer |= {"class_name": "Lambda", "config": {"name": layer["config"]["name"], "function": function}}
                data = json.dumps(model).encode()
            new.writestr(member, data)
    return path


@linux_only
def test_the_code_of_a_trusted_model_has_no_other_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "token")
    secret, target = tmp_path / "home" / "secret", tmp_path / "home" / "taken"
    secret.parent.mkdir()
    secret.write_text("token")
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = THEFT.format(secret=str(secret), target=str(target), port=server.getsockname()[1])
        model = trusted_model(tmp_path / "model.keras", source)
        bundle = import_isolated(str(model), tmp_path / "made.bundle", ImportSettings(trust=True)).bundle
    assert "Tan" in read_ops(bundle.graph_path.read_bytes())  # the code ran to its end
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["home", "made.bundle", "model.keras"]
    assert [entry.name for entry in secret.parent.iterdir()] == ["secret"]


def test_memory_and_time_are_limited(tmp_path: Path) -> None:
    before = children()
    for limits, message in (
        (ImportLimits(time_s=0.5), "was ended after 0.5 s; `hybrid-batch import --max-time` allows more."),
        (ImportLimits(memory_bytes=100 << 20), "of memory; `hybrid-batch import --max-memory-gb` allows more."),
    ):
        with pytest.raises(HybridBatchError) as caught:
            import_isolated(str(SAMPLE), tmp_path / "made.bundle", ImportSettings(), limits)
        assert str(caught.value).startswith(f"The import of {SAMPLE} ")
        assert str(caught.value).endswith(message)
        assert not list(tmp_path.iterdir())
        assert children() <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_the_process_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "import", str(SAMPLE), "-o", str(tmp_path / "made.bundle")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + HANG_S
    while not (found := psutil.Process(process.pid).children()) and time.monotonic() < end:
        time.sleep(0.01)
    (child,) = found
    process.send_signal(number)
    _, err = process.communicate(timeout=HANG_S)
    child.wait(HANG_S)
    assert not (tmp_path / "made.bundle").exists()
    if number == signal.SIGINT:
        assert (process.returncode, err.strip()) == (130, "hybrid-batch: Interrupted.")
        assert not list(tmp_path.iterdir())


# A process that a model has taken over may write and reply anything.


def reply_of(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """Let the process of an import run this code in place of an import; `made` is the folder of its bundle."""
    monkeypatch.setattr(conversation, "_PROGRAM", f"{PREPARED}\nsample = Path({str(BUILT_IN_PATH)!r})\n{act}")


PREPARED = """
import json, os, shutil, signal, sys, time
from pathlib import Path
made = Path(json.loads(sys.stdin.readline())['output'])
fine = json.dumps(dict(landlock=7, seccomp=True, network=False, memory_bytes=1, time_s=1.0))
def done():
    print(fine)
    print('{}')
""".strip()
COPY = "shutil.copytree(sample, made, dirs_exist_ok=True); "
ENDLESS = ["os.close(1); time.sleep(600)", "os.fork(); time.sleep(600)", "os.fork() and os._exit(0); time.sleep(600)"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("done()", "did not make a bundle: it has other files than a bundle."),
        ("print('x' * 3_000_000)", "ended with a result of over 1 MiB"),
        ("print(fine); print('{')", "ended without a result (exit code 0)."),
        ('print(fine); print(\'{"error": "SystemExit", "message": "a\\\\nb"}\')', "failed: a b."),
        ('print(fine); print(\'{"error": "WrongUsage", "message": "a."}\')', "a."),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV: it needs more memory than 16 GiB"),
        ("sys.exit(3)", "ended without a result (exit code 3)."),
        (COPY + "os.unlink(made / 'graph.pb'); os.symlink('/etc/passwd', made / 'graph.pb'); done()", "other files"),
        (COPY + "os.unlink(made / 'graph.pb'); os.mkfifo(made / 'graph.pb'); done()", "other files"),
        (COPY + "(made / 'more').touch(); done()", "other files"),
        (COPY + "os.link(made / 'graph.pb', made.parent / 'graph.pb'); done()", "other files"),
        (COPY + "(made / 'graph.pb').write_bytes(b'x'); done()", "was altered after import"),
        (COPY + "done()", "made a bundle with the name 'digits'."),
        ("os.rmdir(made); os.symlink(sample, made); done()", "other files"),
    ],
)
def test_nothing_that_the_process_returns_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, message: str
) -> None:
    reply_of(monkeypatch, act)
    with pytest.raises(HybridBatchError) as caught:
        import_isolated(str(SAMPLE), tmp_path / "made.bundle", ImportSettings())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_published_files_are_those_of_a_new_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the process gave them another mode, and if its work took long while an older bundle exists."""
    act = "[os.chmod(made / name, 0o6777) for name in ('graph.pb', 'bundle.json')]; os.utime(made.parents[1], (1, 1)); "
    reply_of(monkeypatch, COPY + act + "done()")
    (tmp_path / "new").touch()
    for _ in range(2):
        bundle = import_isolated(str(SAMPLE), tmp_path / "digits.bundle").bundle
        modes = {entry.stat().st_mode for entry in bundle.path.iterdir()}
        assert modes == {(tmp_path / "new").stat().st_mode}
    assert not leftovers(tmp_path)


def test_a_missing_right_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trusted_model(tmp_path / "model.keras", "def call(x):\n    import os\n    os.sync()\n    os.mkfifo('a')\n")
    with pytest.raises(ModelRefused) as caught:
        import_isolated(str(model), tmp_path / "made.bundle", ImportSettings(trust=True))
    assert str(caught.value).startswith(
        f"The import of {model} needs a system call that the process of imports may not"
    )


def test_a_process_that_does_not_end_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that has closed its output, and one whose child keeps it open."""
    before = children()
    for act in (
        "os.close(1); time.sleep(600)",
        "os.fork(); time.sleep(600)",
        "os.fork() and os._exit(0); time.sleep(600)",
    ):
        reply_of(monkeypatch, act)
        with pytest.raises(ModelRefused, match=r"was ended after 0\.5 s"):
            import_isolated(str(SAMPLE), tmp_path / "made.bundle", ImportSettings(), ImportLimits(time_s=0.5))
        assert children() <= before
        assert not list(tmp_path.iterdir())


def test_the_environment_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "token")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setenv("http_proxy", "http://name:token@127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("print('a module of the working folder')")
    reply_of(monkeypatch, "print(fine); print(json.dumps({'error': 'WrongUsage', 'message': repr(dict(os.environ))}))")
    with pytest.raises(HybridBatchError) as caught:
        import_isolated(str(SAMPLE), tmp_path / "made.bundle", ImportSettings())
    assert "token" not in str(caught.value)
    assert "PYTHONPATH" not in str(caught.value)
    assert "HOME" in str(caught.value)


def test_only_the_model_of_a_folder_is_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder may be the user's working folder, and its entries links of a stranger."""
    folder, home = tmp_path / "work", tmp_path / "home"
    (folder / "assets").mkdir(parents=True)
    home.mkdir()
    for name in ("saved_model.pb", ".env"):
        (folder / name).touch()
    (folder / "variables").symlink_to(home)
    requests: list[ImportRequest] = []

    def keep(request: ImportRequest, *_: object) -> None:
        requests.append(request)
        raise ModelRefused("kept")

    monkeypatch.setattr(isolated_import, "ask_child", keep)
    with pytest.raises(ModelRefused, match="kept"):
        import_isolated(str(folder), tmp_path / "made.bundle")
    readable = requests[0].access.readable
    assert {folder / "saved_model.pb", folder / "assets"} <= set(readable)
    for secret in (folder / ".env", home, home / "secret", Path.home() / ".aws", Path("/etc/passwd")):
        assert not [path for path in readable if secret.is_relative_to(path)]


REFUSED = """
from hybrid_batch.inference.model.importing.sandbox import child_process, landlock
landlock._PATH_BENEATH = 0  # no rule is accepted, as for a file system without rules
def refuse(*_, **__): raise OSError(7, 'refused')
child_process.restrict_calls = refuse
child_process.run(json.dumps(request))
"""


@linux_only
def test_an_import_without_a_protection_that_the_kernel_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = (
        "import json, sys; request = json.loads(sys.stdin.readline()); sys.path[:] = json.loads(sys.stdin.readline())"
    )
    monkeypatch.setattr(conversation, "_PROGRAM", prepared + REFUSED)
    with pytest.raises(
        ModelRefused, match=r"has protections for the process of imports and refuses them \(.*refused\)"
    ):
        import_isolated(str(SAMPLE), tmp_path / "made.bundle", ImportSettings())


def test_missing_protections_are_named() -> None:
    assert Protections(7, True, False, 1 << 30, 60).describe_missing() is None
    assert Protections(0, False, False, 1 << 30, 60).describe_missing() == (
        "this system cannot keep the import from files of the user (no Landlock) and from the network and other"
        " programs (no seccomp); import models you trust"
    )
