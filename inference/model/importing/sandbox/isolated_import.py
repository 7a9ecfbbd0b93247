"""Import a model in a process of its own, check what it made, and publish that in one step.

This process neither loads TensorFlow nor opens the model: it starts the other, waits, and reads its bundle as that of a
stranger.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hybrid_batch.data.errors import HybridBatchError, NotABundle
from hybrid_batch.data.storage.temporary_files import lock
from hybrid_batch.inference.model.atomic_directory import atomic_directory
from hybrid_batch.inference.model.bundle import (
    BUNDLE_FILES,
    Bundle,
    check_replaceable,
    is_bundle,
    read_bundle,
    unwritable,
)
from hybrid_batch.inference.model.importing.importer import (
    ImportResult,
    ImportSettings,
    check_reference,
    import_bundle,
)
from hybrid_batch.inference.model.importing.keras.keras_applications import APP
from hybrid_batch.inference.model.importing.sandbox.child_process import ImportRequest
from hybrid_batch.inference.model.importing.sandbox.conversation import ask_child
from hybrid_batch.inference.model.importing.sandbox.landlock import FileAccess
from hybrid_batch.inference.model.importing.sandbox.limits import ImportLimits
from hybrid_batch.inference.model.importing.sandbox.search_paths import (
    keras_folder,
    listed_paths,
    python_paths,
    readable_paths,
)
from hybrid_batch.inference.model.runtimes.graph_nodes import check_graph

_SAVED_MODEL_ENTRIES = ("saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets", "assets.extra")
_DEFAULT_LIMITS = ImportLimits()
_NO_SETTINGS = ImportSettings()


def import_isolated(
    reference: str, path: Path, settings: ImportSettings = _NO_SETTINGS, limits: ImportLimits = _DEFAULT_LIMITS
) -> ImportResult:
    """Import a model as `import_model` does, but TensorFlow's part in a process without rights, within `limits`.

    The folder `path` appears complete, after a check of its files, or not at all. Raises what `import_model` raises,
    and ModelRefused if the process needs more than its limits or does not end by itself."""
    if not reference.startswith(APP) and is_bundle(Path(reference)):
        return import_bundle(read_bundle(Path(reference)), path, settings)
    check_reference(reference)
    try:
        check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as name,
            _held(Path(name)),
        ):
            return _import_in(Path(name), reference, path, settings, limits)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Mark a folder as in use, so that no writer of the same bundle, this process included, takes it for abandoned."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _import_in(work: Path, reference: str, path: Path, settings: ImportSettings, limits: ImportLimits) -> ImportResult:
    """Import into a folder of `work`, the only folder that the process may change, and move the result to `path`."""
    made, temporary = work / "made" / path.name, work / "temporary"
    for folder in (made, temporary):
        folder.mkdir(parents=True)
    search = python_paths()
    downloads = reference.startswith(APP) and settings.weights == "imagenet"
    access = FileAccess(
        readable=(*readable_paths(search, network=downloads), *_inputs(reference, settings)),
        listable=(*listed_paths(), *(() if reference.startswith(APP) else (Path(reference).resolve(),))),
        writable=(work, Path(os.devnull), *_download_folder(downloads)),
    )
    request = ImportRequest(reference, made, settings, limits, access, network=downloads)
    protections, notes = ask_child(request, search, temporary)
    bundle = _checked(made, Path(reference).name)
    with atomic_directory(path) as folder:
        for name in BUNDLE_FILES:
            _publish(made / name, folder / name)
    return ImportResult(replace(bundle, path=path), notes, protections)


def _publish(made: Path, target: Path) -> None:
    """Move a file of the other process to its place, with the mode that a new file of this process has there."""
    target.touch()
    made.chmod(stat.S_IMODE(target.stat().st_mode))
    made.replace(target)


def _inputs(reference: str, settings: ImportSettings) -> tuple[Path, ...]:
    """The files of the user that an import reads: of a folder, those of a SavedModel and not their neighbours."""
    weights = None if settings.weights in ("none", "imagenet") else Path(settings.weights)
    model = None if reference.startswith(APP) else Path(reference).resolve()
    files = [path.resolve() for path in (weights, settings.classes) if path is not None]
    if model is not None and not model.is_dir():
        files.append(model)
    elif model is not None:
        entries = [(model / name).resolve() for name in _SAVED_MODEL_ENTRIES]
        files += [entry for entry in entries if entry.is_relative_to(model)]
    return tuple(files)


def _download_folder(downloads: bool) -> tuple[Path, ...]:
    """The folder in which Keras keeps the weights that it downloads."""
    if not downloads:
        return ()
    keras_folder().mkdir(parents=True, exist_ok=True)
    return (keras_folder(),)


def _checked(folder: Path, source: str) -> Bundle:
    """The bundle that the other process made, which may be anything if a model of a stranger has taken it over.

    Its graph is checked again, because the runtimes of this process will open it."""
    try:
        found = {entry.name: entry.lstat() for entry in folder.iterdir()}
        own_files = all(stat.S_ISREG(entry.st_mode) and entry.st_nlink == 1 for entry in found.values())
        is_own = folder.resolve() == folder.parents[1].resolve() / folder.parent.name / folder.name
        if not is_own or sorted(found) != sorted(BUNDLE_FILES) or not own_files:
            raise NotABundle("it has other files than a bundle")
        bundle = read_bundle(folder)
        check_graph(bundle)
    except (HybridBatchError, OSError) as error:
        reason = " ".join(str(error).replace(str(folder), folder.name).split()).rstrip(".")
        raise NotABundle(f"The import of {source} did not make a bundle: {reason}.") from error
    if (bundle.name, bundle.source) != (folder.name.removesuffix(".bundle"), source):
        raise NotABundle(f"The import of {source} made a bundle with the name {bundle.name!r}.")
    return bundle
