"""The check of a value in a configuration file against the option that it sets."""

from typing import Any

import click

_NAMES = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array", dict: "a table"}


def option_key(parameter: click.Parameter) -> str:
    """The name of an option on the command line without its dashes, or of an argument."""
    name = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else str(parameter.name)
    return name.lstrip("-").replace("_", "-").lower()


def find_problem(value: Any, parameter: click.Parameter) -> str | None:  # noqa: ANN401
    """Why a parameter cannot have this value, None if it can."""
    if not parameter.multiple and parameter.nargs == 1:
        return _scalar_problem(value, parameter)
    if not isinstance(value, list):
        return f"it takes an array, such as [{shown(value)}]"
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


def shown(value: object) -> str:
    """A value as TOML writes it, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
