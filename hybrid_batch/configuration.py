"""The configuration file: defaults of options, checked against the options of the commands."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.terminal.command_group import nearest

CONFIG_FILE = Path("hybrid-batch.toml")
_VARIABLES = "HYBRID_BATCH_"
_OTHER_VARIABLES = {
    f"{_VARIABLES}{name}"
    for name in ("BUNDLE", "CACHE", "CUTS", "QUEUE", "SPILL", "TAIL_TOKEN", "TOKEN_SHA256", "QUIET", "VERBOSE")
}
_NAMES = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array", dict: "a table"}


def read_configuration(path: Path, group: click.Group, ctx: click.Context) -> dict[str, Any]:
    """The option defaults by command in a TOML file, in the form of click's `default_map`; empty without the file.

    Raises WrongUsage for a file that is not TOML, an unknown section or key, and a value of another type than the
    option's."""
    if not path.exists():
        return {}
    import tomllib

    from hybrid_batch.data.storage.text_file import read_text_file

    try:
        sections = tomllib.loads(read_text_file(path, "configuration"))
    except tomllib.TOMLDecodeError as error:
        raise WrongUsage(f"{path} is not valid TOML: {error}.") from error
    return dict(_sections(sections, path, group, ctx, ""))


def _sections(
    sections: Mapping[str, Any], path: Path, group: click.Group, ctx: click.Context, prefix: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The defaults of each command of a group; `prefix` is the group's section, with a point."""
    known = group.list_commands(ctx)
    for name, content in sections.items():
        section = f"{prefix}{name}"
        command = group.get_command(ctx, name)
        if command is None:
            similar = nearest(name, known)
            hint = f"did you mean [{prefix}{similar}]?" if similar else f"the commands are {', '.join(known)}."
            raise WrongUsage(f"{path} has a section [{section}], but hybrid-batch has no such command; {hint}")
        if not isinstance(content, dict):
            raise WrongUsage(f"{path} sets {section!r} to a value, but it is a command; write a section [{section}].")
        if isinstance(command, click.Group):
            yield name, dict(_sections(content, path, command, ctx, f"{section}."))
        else:
            yield name, dict(_options(content, path, section, command))


def _options(content: Mapping[str, Any], path: Path, section: str, command: click.Command) -> Iterator[tuple[str, Any]]:
    parameters = {_key(parameter): parameter for parameter in command.params}
    for written, value in content.items():
        key = written.replace("_", "-")
        if key not in parameters:
            similar = nearest(key, parameters)
            hint = f"did you mean {similar!r}?" if similar else f"`hybrid-batch {section} --help` lists the options."
            raise WrongUsage(f"{path} sets {written!r} in [{section}], but that command has no such option; {hint}")
        parameter = parameters[key]
        if problem := _problem(value, parameter):
            raise WrongUsage(f"{path} sets {written!r} in [{section}] to {_shown(value)}, but {problem}.")
        yield str(parameter.name), value


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


def _key(parameter: click.Parameter) -> str:
    """The name of an option on the command line without its dashes, or of an argument."""
    name = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else str(parameter.name)
    return name.lstrip("-").replace("_", "-").lower()


def _problem(value: Any, parameter: click.Parameter) -> str | None:  # noqa: ANN401
    """Why a parameter cannot have this value, None if it can."""
    if not parameter.multiple and parameter.nargs == 1:
        return _scalar_problem(value, parameter)
    if not isinstance(value, list):
        return f"it takes an array, such as [{_shown(value)}]"
    problems = (_scalar_problem(item, parameter) for item in value)
    return next((f"each item of its array: {problem}" for problem in problems if problem), None)


def _scalar_problem(value: Any, parameter: click.Parameter) -> str | None:  # noqa: ANN401
    written: Any = value
    expected = _expected_type(parameter)
    accepted = (int, float) if expected is float else expected
    if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
        return f"it takes {_NAMES[expected]}, not {_NAMES.get(type(value), 'a date or time')}"
    if isinstance(parameter.type, (click.IntRange, click.FloatRange, click.Choice)):
        try:
            parameter.type.convert(written, parameter, None)
        except click.BadParameter as error:
            return error.message.rstrip(".")
    return None


def _expected_type(parameter: click.Parameter) -> type:
    if getattr(parameter, "is_flag", False):
        return bool
    if isinstance(parameter.type, click.types.IntParamType):
        return int
    return float if isinstance(parameter.type, click.types.FloatParamType) else str


def _shown(value: object) -> str:
    """A value as TOML writes it, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
