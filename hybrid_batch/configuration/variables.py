"""The environment variables of this program: HYBRID_BATCH_, the command and the option."""

from collections.abc import Iterator, Mapping

import click

from hybrid_batch.data.terminal.command_group import nearest

_VARIABLES = "HYBRID_BATCH_"
_OTHER_VARIABLES = {
    f"{_VARIABLES}{name}"
    for name in ("BUNDLE", "CACHE", "CUTS", "QUEUE", "SPILL", "TAIL_TOKEN", "TOKEN_SHA256", "QUIET", "VERBOSE")
}


def unknown_variables(environment: Mapping[str, str], group: click.Group, ctx: click.Context) -> Iterator[str]:
    """A sentence for each variable that has the form of an option's and names no option of the command in `ctx`."""
    command = group.get_command(ctx, ctx.invoked_subcommand or "")
    if command is None:
        return
    prefix = f"{_VARIABLES}{ctx.invoked_subcommand}_".upper()
    known = set(_variables(command, prefix, ctx))
    others = tuple(f"{_VARIABLES}{name}_".upper() for name in group.list_commands(ctx))
    for variable in sorted(environment):
        is_ours = variable.startswith(prefix) or not variable.startswith(others)
        if variable.startswith(_VARIABLES) and is_ours and variable not in known and variable not in _OTHER_VARIABLES:
            similar = nearest(_without(variable, prefix), [_without(name, prefix) for name in known])
            hint = (
                f"did you mean {prefix}{similar}?"
                if similar
                else f"`hybrid-batch {ctx.invoked_subcommand} --help` lists them."
            )
            yield f"The variable {variable} sets no option of {ctx.invoked_subcommand}; {hint}"


def _without(variable: str, prefix: str) -> str:
    return variable.removeprefix(prefix if variable.startswith(prefix) else _VARIABLES)


def _variables(command: click.Command, prefix: str, ctx: click.Context) -> Iterator[str]:
    """The variables of the options of a command, and of the commands of a group."""
    yield from (f"{prefix}{parameter.name}".upper() for parameter in command.params)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            if (child := command.get_command(ctx, name)) is not None:
                yield from _variables(child, f"{prefix}{name}_".upper(), ctx)
