"""What the folder of a run states about it, beside its records: for the header of a page, not for `report.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.terminal.numbers import format_count

_GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Facts of one run as texts; None where its `_run.json` has none, as those of earlier versions.

    `run` is the folder of the run, `images` the place of its images, `cut` the name of the cut. `cut` and `codec` are
    None for a run that adapted them, `weights` is None for trained weights. `created_at` is ISO 8601 in UTC.
    """

    run: str
    run_id: str | None
    model: str | None
    bundle: str | None
    images: str | None
    labels: str | None
    machine: str | None
    created_at: str | None
    cut: str | None
    codec: str | None
    tail: str | None
    weights: str | None


def facts_of(run: str, settings: Mapping[str, Any]) -> RunFacts:
    """The facts of a run in the folder `run`, from the content of its `_run.json`; other types count as missing."""
    identity, machine = (_mapping(settings.get(name)) for name in ("identity", "machine"))
    name = run.rstrip("/").rpartition("/")[2]
    return RunFacts(
        run=run,
        run_id=name.removeprefix("run=") if name.startswith("run=") else None,
        model=_text(settings.get("bundle_name")),
        bundle=_text(identity.get("bundle")),
        images=_text(settings.get("images")),
        labels=_text(settings.get("labels")),
        machine=_machine(machine),
        created_at=_text(settings.get("created_at")),
        cut=_text(settings.get("cut_name")) or _text(settings.get("cut")),
        codec=_text(settings.get("codec")),
        tail=_text(settings.get("tail")),
        weights=_text(settings.get("weights")),
    )


def _machine(machine: Mapping[str, Any]) -> str | None:
    cores, memory = machine.get("cores"), machine.get("memory_bytes")
    # Of "Linux-6.1.0-x86_64-with-glibc2.36" the system and its version.
    system = " ".join((_text(machine.get("platform")) or "").split("-")[:2])
    parts = [_text(machine.get("processor")), system]
    if isinstance(cores, int):
        parts.insert(1, format_count(cores, "core"))
    if isinstance(memory, int | float):
        parts.insert(-1, f"{memory / _GIGABYTE:.0f} GB")
    return ", ".join(part for part in parts if part) or None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
