"""`hybrid-batch completion`: print the script with which a shell completes commands, options, models and cuts.

A shell inserts a value into the command line as it is. Values come from the names of files and from the bundles of
others, so only words without characters that a shell interprets are offered. Other paths are left to the completion of
files by the shell, which quotes them.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

_VARIABLE = "_HYBRID_BATCH_COMPLETE"  # as click derives it from the name of the program
# Bash divides words at colons, and would complete app:Mob to app:app:MobileNet.
_BASH_COLONS = "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}"
_PLAIN_WORD = re.compile(r"-{0,2}[\w./][\w./:@%+=,-]*", re.ASCII)
_TIME_LIMIT_S = 2.0


class _OrFiles(ShellComplete):
    """Completes paths where no names are known: images, runs and logs."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        try:
            with _time_limit():
                found = [
                    item for item in super().get_completions(args, incomplete) if _PLAIN_WORD.fullmatch(item.value)
                ]
        except Exception:  # a trace would appear in the middle of the command line
            found = []
        for item in found:
            item.help = item.help if item.help and item.help.isprintable() else None
        return found or ([] if incomplete.startswith("-") else [CompletionItem(incomplete, type="file")])


@contextmanager
def _time_limit() -> Iterator[None]:
    """Raise TimeoutError in a block that takes too long, as a search of a huge or remote folder does."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, _TIME_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Bash(_OrFiles, BashComplete):
    """Completion in Bash."""

    def source(self) -> str:
        return f"{super().source().rstrip()}\n{_BASH_COLONS}"


class _Zsh(_OrFiles, ZshComplete):
    """Completion in Zsh."""


class _Fish(_OrFiles, FishComplete):
    """Completion in Fish."""


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def register_shells() -> None:
    """Let click complete with the classes of this module."""
    for name, shell in SHELLS.items():
        add_completion_class(shell, name)


@click.command("completion", short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice([*SHELLS]), required=False)
@click.pass_context
def command(ctx: click.Context, shell: str | None) -> None:
    """Print the script with which SHELL (bash, zsh or fish) completes commands and options, the models in the present
    folder and the cuts of the model on the command line. SHELL is by default that of the variable SHELL.

    \b
    Example:
      eval "$(hybrid-batch completion bash)"
      hybrid-batch completion fish > ~/.config/fish/completions/hybrid-batch.fish
    """
    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.data.terminal.messages import print_block

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise WrongUsage(f"Cannot complete in the shell {name!r}; give one of {', '.join(SHELLS)}.")
    root = ctx.find_root()
    print_block(SHELLS[name](root.command, {}, str(root.info_name), _VARIABLE).source())
