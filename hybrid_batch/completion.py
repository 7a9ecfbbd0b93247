"""`hybrid-batch completion`: print the script with which a shell completes commands, options, models and cuts."""

import os
from pathlib import Path

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


class _OrFiles(ShellComplete):
    """Completes paths where no names are known: images, runs and logs."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        found = super().get_completions(args, incomplete)
        return found or ([] if incomplete.startswith("-") else [CompletionItem(incomplete, type="file")])


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
    from hybrid_batch.data.terminal.messages import print_line

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise WrongUsage(f"Cannot complete in the shell {name!r}; give one of {', '.join(SHELLS)}.")
    root = ctx.find_root()
    print_line(SHELLS[name](root.command, {}, str(root.info_name), _VARIABLE).source())
