"""The process that imports a model: it limits itself before TensorFlow is loaded, imports, and replies on its stdout.

The parent starts it with an ImportRequest as one line of JSON. The reply has two lines: the protections that are in
force, and the result or the error.
"""

import ctypes
import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_batch.inference.model.importing.sandbox.landlock import FileAccess, restrict_files
from hybrid_batch.inference.model.importing.sandbox.limits import ImportLimits, Protections, limit_process
from hybrid_batch.inference.model.importing.sandbox.seccomp import restrict_calls

if TYPE_CHECKING:
    from hybrid_batch.inference.model.importing.importer import ImportSettings

_PARENT_DEATH_SIGNAL = 1
_OUT_OF_MEMORY = {"MemoryError", "_ArrayMemoryError", "ResourceExhaustedError"}
# Messages of the dynamic linker and the system, which have no exception of their own.
_NO_MEMORY_FOR = (
    "failed to map segment",
    "cannot map zero-fill pages",
    "Cannot allocate memory",
    "cannot allocate memory",
    "bad_alloc",
)
# A system call that is not listed, and one with arguments that are not.
_FORBIDDEN = tuple(os.strerror(number) for number in (errno.ENOSYS, errno.EPERM))
UNEXPECTED = "Unexpected"
FORBIDDEN = "Forbidden"
TOO_LARGE = "OutOfMemory"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What the parent asks for: a model, the folder `output` for its bundle, and what the process may use."""

    reference: str
    output: Path
    settings: "ImportSettings"
    limits: ImportLimits
    access: FileAccess
    network: bool

    def to_json(self) -> str:
        """The request as JSON."""
        return json.dumps(asdict(self), default=str)


def run(line: str) -> None:
    """Import the model of a request, and write the reply. Called by the program that the parent starts."""
    stored = json.loads(line)
    reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # libraries print there
        os.dup2(null, stream)
    access = FileAccess(**{name: tuple(map(Path, paths)) for name, paths in stored["access"].items()})
    limits = ImportLimits(**stored["limits"])
    try:
        protections = protect(limits, access, network=stored["network"])
    except OSError as error:
        message = f"This system has protections for the process of imports and refuses them ({error})."
        none = Protections(0, False, stored["network"], limits.memory_bytes, limits.time_s)
        reply.write(f"{json.dumps(none.to_dict())}\n{json.dumps({'error': 'ModelRefused', 'message': message})}")
    else:
        reply.write(f"{json.dumps(protections.to_dict())}\n")
        reply.flush()
        reply.write(json.dumps(answer(stored["reference"], Path(stored["output"]), stored["settings"])))
    reply.close()
    os._exit(0)  # without the code that a model may have registered for the end of the process


def protect(limits: ImportLimits, access: FileAccess, *, network: bool) -> Protections:
    """Take from this process what an import does not need. Must run before any thread is started.

    Raises OSError if the kernel has a protection and refuses it; one that it lacks is left out."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    limit_process(limits)
    version = restrict_files(access, network=network)
    return Protections(version, restrict_calls(network=network), network, limits.memory_bytes, limits.time_s)


def answer(reference: str, output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Import a model into the folder `output`; the notes, or the class and the message of the error."""
    import msgspec

    from hybrid_batch.data.errors import HybridBatchError
    from hybrid_batch.inference.model.bundle import store_bundle
    from hybrid_batch.inference.model.importing.importer import ImportSettings, build_bundle

    try:
        stated = msgspec.convert(settings, ImportSettings, dec_hook=lambda kind, value: kind(value))
        built = build_bundle(reference, output, stated)
        store_bundle(output, built.bundle, built.graph)
    except HybridBatchError as error:
        return {"error": _kind(error, type(error).__name__), "message": str(error)}
    except BaseException as error:
        import traceback

        message = f"{type(error).__name__}: {error}"
        return {"error": _kind(error, UNEXPECTED), "message": message[:1000], "trace": traceback.format_exc()[-10_000:]}
    return {"notes": list(built.notes)}


def _kind(error: BaseException, other: str) -> str:
    """What the parent makes of an error: a limit that was reached, a right that is missing, or `other`."""
    if _is_out_of_memory(error):
        return TOO_LARGE
    return FORBIDDEN if any(text in str(cause) for cause in _causes(error) for text in _FORBIDDEN) else other


def _is_out_of_memory(error: BaseException) -> bool:
    return any(
        type(cause).__name__ in _OUT_OF_MEMORY or any(text in str(cause) for text in _NO_MEMORY_FOR)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
