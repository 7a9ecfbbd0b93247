"""The configuration files: defaults of options, checked against the options of the commands.

`config.toml` in the user's configuration folder may set every option. `hybrid-batch.toml` in the working folder takes
precedence over it, and may set harmless options only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hybrid_batch.configuration.folder_options import is_allowed, is_limit
from hybrid_batch.configuration.option_checks import find_problem, option_key, shown
from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.private_file import read_folder_file, read_user_file, user_folder
from hybrid_batch.data.terminal.command_group import SETTING_SOURCES, SettingSources, nearest

CONFIG_FILE = Path("hybrid-batch.toml")
_USER_FILE = "config.toml"
_CONTENT = "configuration"
Defaults = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _SettingsFile:
    """A file being read. `limits` are the defaults of the other file, or None if this file may set every option."""

    path: Path
    sources: SettingSources
    limits: Defaults | None = None


def read_configuration(group: click.Group, ctx: click.Context) -> Defaults:
    """The option defaults by command in both files, in the form of click's `default_map`; empty without a file.

    `ctx.meta` receives the file of each option, for the note of the command. Raises WrongUsage for a file that another
    user can have written, that is not TOML, has an unknown section or key, or a value of another type than the
    option's, and for an option that the working folder may not set."""
    sources: SettingSources = ctx.meta.setdefault(SETTING_SOURCES, {})
    folder = user_folder()
    defaults: Defaults = {}
    if folder is not None and (text := read_user_file(folder / _USER_FILE, _CONTENT)) is not None:
        file = _SettingsFile(folder / _USER_FILE, sources)
        defaults = dict(_sections(_parse(text, file.path), file, group, ctx, ""))
    if (text := read_folder_file(CONFIG_FILE, _CONTENT)) is not None:
        file = _SettingsFile(CONFIG_FILE, sources, defaults)
        defaults = _merge(defaults, dict(_sections(_parse(text, file.path), file, group, ctx, "")))
    return defaults


def _parse(text: str, path: Path) -> Defaults:
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise WrongUsage(f"{path} is not valid TOML: {str(error).rstrip('.')}.") from error


def _merge(lower: Defaults, upper: Defaults) -> Defaults:
    both = {name: _merge(lower[name], upper[name]) for name in lower.keys() & upper.keys() if _is_table(upper[name])}
    return lower | upper | both


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _sections(
    sections: Mapping[str, Any], file: _SettingsFile, group: click.Group, ctx: click.Context, prefix: str
) -> Iterator[tuple[str, Defaults]]:
    """The defaults of each command of a group; `prefix` is the group's section, with a point."""
    known = group.list_commands(ctx)
    for name, content in sections.items():
        section = f"{prefix}{name}"
        command = group.get_command(ctx, name)
        if command is None:
            similar = nearest(name, known)
            hint = f"did you mean [{prefix}{similar}]?" if similar else f"the commands are {', '.join(known)}."
            raise WrongUsage(f"{file.path} has a section [{section}], but hybrid-batch has no such command; {hint}")
        if not isinstance(content, dict):
            raise WrongUsage(
                f"{file.path} sets {section!r} to a value, but it is a command; write a section [{section}]."
            )
        if isinstance(command, click.Group):
            yield name, dict(_sections(content, file, command, ctx, f"{section}."))
        else:
            yield name, dict(_options(content, file, section, command))


def _options(
    content: Mapping[str, Any], file: _SettingsFile, section: str, command: click.Command
) -> Iterator[tuple[str, Any]]:
    parameters = {option_key(parameter): parameter for parameter in command.params}
    for written, value in content.items():
        key = written.replace("_", "-")
        if key not in parameters:
            similar = nearest(key, parameters)
            hint = f"did you mean {similar!r}?" if similar else f"`hybrid-batch {section} --help` lists the options."
            raise WrongUsage(
                f"{file.path} sets {written!r} in [{section}], but that command has no such option; {hint}"
            )
        parameter = parameters[key]
        if file.limits is not None and not is_allowed(section, key, parameter):
            raise WrongUsage(_refusal(file.path, section, written, parameter))
        if problem := find_problem(value, parameter):
            raise WrongUsage(f"{file.path} sets {written!r} in [{section}] to {shown(value)}, but {problem}.")
        if file.limits is not None and is_limit(section, key):
            _check_limit(value, file, section, written, parameter)
        file.sources.setdefault(section, {})[str(parameter.name)] = key, str(file.path)
        yield str(parameter.name), value


def _refusal(path: Path, section: str, written: str, parameter: click.Parameter) -> str:
    """The sentence about an option that the working folder may not set, with the places that may."""
    folder = user_folder()
    places = [] if folder is None else [f"[{section}] of {folder / _USER_FILE}"]
    if isinstance(parameter, click.Option):
        places += [f"HYBRID_BATCH_{section}_{parameter.name}".replace(".", "_").upper(), max(parameter.opts, key=len)]
    else:
        places += ["the command line"]
    return (
        f"{path} sets {written!r} in [{section}], which a file in the working folder may not set; remove it, and use "
        f"{', '.join(places[:-1])}{' or ' if places[:-1] else ''}{places[-1]}."
    )


def _check_limit(
    value: Any,  # noqa: ANN401
    file: _SettingsFile,
    section: str,
    written: str,
    parameter: click.Parameter,
) -> None:
    """Raise WrongUsage if the value raises a limit above that of the user's file or of the program."""
    mine: Any = file.limits
    for name in section.split("."):
        mine = (mine or {}).get(name)
    limit = (mine or {}).get(parameter.name, parameter.default)
    if isinstance(limit, (int, float)) and value > limit:
        raise WrongUsage(
            f"{file.path} sets {written!r} in [{section}] to {shown(value)}, but a file in the working folder may only "
            f"lower it, from {limit:g}; remove it, and use {max(parameter.opts, key=len)}."
        )
