"""Groups of commands that suggest the nearest name for a misspelt one; -v, -q and finite numbers for every command."""

import math
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.terminal.messages import Verbosity, print_note, set_verbosity

# By section and parameter: the key in a configuration file, and the file. In the `meta` of contexts under this name.
SettingSources = dict[str, dict[str, tuple[str, str]]]
SETTING_SOURCES = f"{__name__}.sources"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to a misspelt one, None if none is."""
    import difflib

    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


class CommandGroup(click.Group):
    """A group that names the nearest command for an unknown one, and whose commands all accept -v and -q."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click.Group. Raises WrongUsage for an unknown command."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            similar = nearest(args[0], self.list_commands(ctx))
            hint = f"did you mean {similar!r}?" if similar else f"`{ctx.command_path} --help` lists the commands."
            raise WrongUsage(f"`{ctx.command_path}` has no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, with -v and -q."""
        command = super().get_command(ctx, cmd_name)
        return None if command is None else with_verbosity(command)


class FiniteFloatRange(click.FloatRange):
    """A click.FloatRange without `nan`, which no comparison with a limit refuses, and without `inf`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Convert as click.FloatRange does. Raises BadParameter for a number that is not finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


def with_verbosity(command: click.Command) -> click.Command:
    """Add `-v` and `-q` to a command, once, and let its options refuse numbers that are not finite."""
    for option in command.params:
        kind = option.type
        if isinstance(kind, click.FloatRange):
            limits = {"min_open": kind.min_open, "max_open": kind.max_open, "clamp": kind.clamp}
            option.type = FiniteFloatRange(kind.min, kind.max, **limits)
        elif isinstance(kind, click.types.FloatParamType):
            option.type = FiniteFloatRange()
    if not any(option.name == "quiet" for option in command.params):
        command.params += [
            _option(("-v", "--verbose"), Verbosity.VERBOSE, "Print details on stderr, and the trace of an error."),
            _option(("-q", "--quiet"), Verbosity.QUIET, "Print no notes and progress, only errors and results."),
        ]
        if command.callback is not None and not isinstance(command, click.Group):
            command.callback = _noting_sources(command.callback)
    return command


def _noting_sources(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The callback of a command, after a note about the files that set its options."""

    @wraps(callback)
    def noted(*arguments: Any, **values: Any) -> Any:  # noqa: ANN401 - click's
        ctx = click.get_current_context()
        if sentence := _describe_sources(ctx):
            print_note(sentence)
        return callback(*arguments, **values)

    return noted


def _describe_sources(ctx: click.Context) -> str:
    """Which options of the command are in force from which file; empty if none is."""
    section = ".".join(ctx.command_path.split()[1:])
    sources: SettingSources = ctx.meta.get(SETTING_SOURCES, {})
    keys: dict[str, list[str]] = {}
    for name, (key, file) in sources.get(section, {}).items():
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
            keys.setdefault(file, []).append(key)
    listed = " and ".join(f"{', '.join(names)} from {file}" for file, names in keys.items())
    return f"{section.replace('.', ' ')} uses {listed}." if listed else ""


def _option(names: tuple[str, str], verbosity: Verbosity, text: str) -> click.Option:
    """The option of a verbosity. On the command line it takes precedence over a file and over the environment."""

    def apply(ctx: click.Context, option: click.Parameter, is_set: bool) -> None:
        if not is_set or ctx.resilient_parsing:
            return
        root: dict[str, Any] = ctx.find_root().meta
        is_typed = ctx.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        before, was_typed = root.get(__name__, (verbosity, False))
        if was_typed and not is_typed:
            return
        if before is not verbosity and was_typed is is_typed:
            set_verbosity(Verbosity.NORMAL)
            raise WrongUsage("-v and -q exclude each other; give one of them.")
        root[__name__] = verbosity, is_typed
        set_verbosity(verbosity)

    return click.Option(names, is_flag=True, expose_value=False, callback=apply, help=text)
