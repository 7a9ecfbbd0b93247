"""The options that `hybrid-batch.toml` in the working folder may set: an allowlist, by command.

The folder may be a clone of a stranger's repository. So its file sets only how much is computed at once and how results
are printed: nothing that is read, written, sent, started or trusted, no address, no secret, and no note that is hidden.
An option that is not listed is refused, so that a new option is refused until it has been considered.
"""

from collections.abc import Mapping

import click

_ANY = frozenset({"json"})

# Every value of these is harmless.
_FREE: Mapping[str, frozenset[str]] = {
    "run": frozenset({"batch-size", "shard-size", "in-flight"}),
    "import": frozenset({"scale", "resize", "colour", "size"}),
    "cuts": frozenset({"multi-tensor", "verify"}),
    "profile": frozenset({"batch-size"}),
    "plan": frozenset({"objective", "min-rate", "batch-size", "in-flight", "all"}),
    "export": frozenset({"format"}),
    "evaluate": frozenset({"by", "all-runs", "no-files"}),
    "report": frozenset({"by", "all-runs"}),
    "compare": frozenset({"by", "fail-if"}),
    "emr.submit": frozenset({"by"}),
}

# These are limits: the folder may lower them, and set those that are unset.
_LOWERED: Mapping[str, frozenset[str]] = {
    "run": frozenset({"limit", "patience"}),
    "plan": frozenset({"max-sent-bytes"}),
    "serve": frozenset({"max-batch", "max-request-mb", "max-pending"}),
    "worker": frozenset({"max-batch"}),
}


def is_allowed(section: str, key: str, parameter: click.Parameter) -> bool:
    """Whether the file of the working folder may set this option of a command."""
    if not isinstance(parameter, click.Option):
        return False
    return key in _ANY or key in _FREE.get(section, ()) or is_limit(section, key)


def is_limit(section: str, key: str) -> bool:
    """Whether the file of the working folder may only lower this option."""
    return key in _LOWERED.get(section, ())
