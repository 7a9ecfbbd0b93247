"""The `hybrid-batch` command: assembles its commands lazily and maps errors to exit codes; nothing else.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 the reader of the output closed it.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from hybrid_batch.data.terminal.command_group import CommandGroup, nearest, with_verbosity
from hybrid_batch.data.terminal.messages import (
    Verbosity,
    is_verbose,
    print_block,
    print_error,
    print_note,
    set_verbosity,
)

if TYPE_CHECKING:
    from hybrid_batch.data.errors import HybridBatchError

COMMANDS = {
    "run": "hybrid_batch.inference.commands.run",
    "import": "hybrid_batch.inference.commands.import_model",
    "cuts": "hybrid_batch.inference.commands.cuts",
    "profile": "hybrid_batch.inference.commands.profile",
    "plan": "hybrid_batch.inference.commands.plan",
    "serve": "hybrid_batch.inference.commands.serve",
    "worker": "hybrid_batch.inference.commands.worker",
    "runs": "hybrid_batch.jobs.commands.runs",
    "export": "hybrid_batch.jobs.commands.export",
    "evaluate": "hybrid_batch.jobs.commands.evaluate",
    "report": "hybrid_batch.jobs.commands.report",
    "compare": "hybrid_batch.jobs.commands.compare",
    "emr": "hybrid_batch.emr.commands",
    "cloud": "hybrid_batch.inference.commands.cloud",
    "bench": "hybrid_batch.inference.commands.bench",
    "completion": "hybrid_batch.completion",
}
_PROGRAM = "hybrid-batch"
_COMPLETION = "_HYBRID_BATCH_COMPLETE"  # set by the completion scripts of shells
_SAFE_PATH = "PYTHONSAFEPATH"  # child processes of Python do not import modules of the working folder
_CLOSED = 141  # 128 + SIGPIPE, the code of programs that this signal ends


def is_installed(module: str) -> bool:
    """Whether the installation has this module; packages for containers leave out some commands."""
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


class LazyGroup(CommandGroup):
    """Imports the module of a command on use; the modules import heavy libraries late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The installed commands, in the order in which a new user needs them."""
        return [name for name, module in COMMANDS.items() if is_installed(module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The object `command` of the module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(COMMANDS[cmd_name])
        return with_verbosity(module.command)


@click.group(
    cls=LazyGroup, context_settings={"auto_envvar_prefix": "HYBRID_BATCH", "help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="hybrid-batch", message="%(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Classify folders of images with a neural network cut in two.

    The first layers run on this machine, the others in another process or in the cloud. Every prediction is logged
    exactly once, and MapReduce jobs evaluate the log: accuracy, latency and bytes sent.

    Defaults of options can be set in ~/.config/hybrid-batch/config.toml ([run] batch-size = 64) and in environment
    variables (HYBRID_BATCH_RUN_BATCH_SIZE=64). The file hybrid-batch.toml in the working folder sets harmless options.

    \b
    Example:
      hybrid-batch run ./images --model digits --split c005
      hybrid-batch evaluate hybrid-batch-log
    """
    from hybrid_batch.configuration.files import read_configuration
    from hybrid_batch.configuration.variables import unknown_variables

    ctx.default_map = read_configuration(cli, ctx)
    for sentence in unknown_variables(os.environ, cli, ctx):
        print_note(sentence)


with_verbosity(cli)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, flush its output, and return the exit code.

    A closed pipe (`hybrid-batch cuts | head -1`) gives code 141 without a message.
    """
    from hybrid_batch.data.terminal.streams import protect_streams

    protect_streams()
    if arguments is None:  # this process is the command
        os.environ.setdefault(_SAFE_PATH, "1")
    set_verbosity(Verbosity.NORMAL)
    if _COMPLETION in os.environ:
        from hybrid_batch.completion import register_shells

        register_shells()
    code = _run(arguments)
    _discard_unwritten_output()
    return code


def _run(arguments: Sequence[str] | None) -> int:
    from hybrid_batch.data.errors import HybridBatchError

    try:
        cli.main(arguments, prog_name=_PROGRAM, standalone_mode=False)
        # Buffered output reaches a full disk only when it is flushed; at exit Python would report that, with code 120.
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted.", 130)
    except click.ClickException as error:
        return _fail_usage(error)
    except HybridBatchError as error:
        return _fail_command(error)
    except SystemExit as error:  # with which click replaces a BrokenPipeError, since 8.3 without its context
        return _fail_output(error, error.__context__ or BrokenPipeError())
    except OSError as error:
        return _fail_output(error, error)
    return 0


def _fail_usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    return _fail(_sentence(error), error.exit_code)


def _fail_command(error: "HybridBatchError") -> int:
    from hybrid_batch.data.errors import Interrupted, WrongUsage

    if is_verbose():
        import traceback

        print_block("".join(traceback.format_exception(error)).rstrip(), err=True)
    return _fail(str(error), 130 if isinstance(error, Interrupted) else 2 if isinstance(error, WrongUsage) else 1)


def _fail_output(error: BaseException, cause: BaseException | None) -> int:
    """The exit code for an output that cannot be written; raises `error` if it has another cause."""
    if isinstance(cause, BrokenPipeError):
        return _CLOSED
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        return _fail("The disk is full; nothing more can be written.", 1)
    raise error


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # stderr may be on the same full disk
        print_error(f"{_PROGRAM}: {message}")
    return code


def _sentence(error: click.ClickException) -> str:
    """An error of click as one sentence with a remedy."""
    message = " ".join(error.format_message().split())
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None:
        return message
    if isinstance(error, click.NoSuchOption):
        similar = nearest(error.option_name, [name for option in ctx.command.params for name in option.opts])
        if similar:
            return f"`{ctx.command_path}` has no option {error.option_name!r}; did you mean {similar!r}?"
        message = f"`{ctx.command_path}` has no option {error.option_name!r}"
    message = message.replace("a valid integer range", "an integer").replace("a valid float range", "a number")
    if isinstance(error, click.BadParameter) and isinstance(error.param, click.Option):
        variable = f"{ctx.auto_envvar_prefix}_{error.param.name}".upper()
        source = ctx.get_parameter_source(str(error.param.name))
        if variable in os.environ and source in (None, ParameterSource.ENVIRONMENT):
            message = f"{message.rstrip('.')}, in the variable {variable}"
    if ";" in message:  # the sentence of a type of this program, with its own remedy
        return message
    return f"{message.rstrip('.')}; `{ctx.command_path} --help` describes the arguments and options."


def _discard_unwritten_output() -> None:
    """Redirect an output that cannot be flushed to the null device, because Python flushes both again at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
