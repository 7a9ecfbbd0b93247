"""The `hybrid-batch` command: assembles its commands lazily and maps errors to exit codes; nothing else.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

COMMANDS = {
    "run": "hybrid_batch.inference.commands.run",
    "import": "hybrid_batch.inference.commands.import_model",
    "cuts": "hybrid_batch.inference.commands.cuts",
    "profile": "hybrid_batch.inference.commands.profile",
    "plan": "hybrid_batch.inference.commands.plan",
    "serve": "hybrid_batch.inference.commands.serve",
    "worker": "hybrid_batch.inference.commands.worker",
    "evaluate": "hybrid_batch.jobs.commands.evaluate",
    "report": "hybrid_batch.jobs.commands.report",
    "compare": "hybrid_batch.jobs.commands.compare",
    "emr": "hybrid_batch.emr.commands",
    "cloud": "hybrid_batch.inference.commands.cloud",
    "bench": "hybrid_batch.inference.commands.bench",
}
CONFIG_FILE = Path("hybrid-batch.toml")


def is_installed(module: str) -> bool:
    """Whether the installation has this module; packages for containers leave out some commands."""
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


class LazyGroup(click.Group):
    """Imports the module of a command on use; the modules import heavy libraries late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The installed commands, in the order in which a new user needs them."""
        return [name for name, module in COMMANDS.items() if is_installed(module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The object `command` of the module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(COMMANDS[cmd_name])
        found: click.Command = module.command
        return found


@click.group(
    cls=LazyGroup, context_settings={"auto_envvar_prefix": "HYBRID_BATCH", "help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="hybrid-batch", message="%(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Classify folders of images with a neural network cut in two.

    The first layers run on this machine, the others in another process or in the cloud. Every prediction is logged
    exactly once, and MapReduce jobs evaluate the log: accuracy, latency and bytes sent.

    Defaults of options can be set in hybrid-batch.toml ([run] batch-size = 64) and in environment variables
    (HYBRID_BATCH_RUN_BATCH_SIZE=64).

    \b
    Example:
      hybrid-batch run ./images --model digits --split c005
      hybrid-batch evaluate hybrid-batch-log
    """
    ctx.default_map = read_config(CONFIG_FILE)


def read_config(path: Path) -> dict[str, Any]:
    """The option defaults by command in a TOML file; empty without the file. Raises WrongUsage for invalid content."""
    if not path.is_file():
        return {}
    import tomllib

    from hybrid_batch.data.errors import WrongUsage

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{path} is not valid TOML: {error}.") from error
    if unknown := [name for name, table in tables.items() if name not in COMMANDS or not isinstance(table, dict)]:
        raise WrongUsage(f"{path} has {unknown[0]!r}, which is not the table of a command ({', '.join(COMMANDS)}).")
    defaults = {
        command: {option.replace("-", "_"): value for option, value in options.items()}
        for command, options in tables.items()
    }
    for command, options in defaults.items():
        if not is_installed(COMMANDS[command]):
            continue
        found = import_module(COMMANDS[command]).command
        known = {parameter.name for parameter in found.params}
        if not isinstance(found, click.Group) and (undefined := sorted(options.keys() - known)):
            raise WrongUsage(f"{path} sets {undefined[0]!r} for {command}, which has no such option.")
    return defaults


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, flush its output, and return the exit code.

    A closed pipe (`hybrid-batch cuts | head -1`) gives code 1 without a message.
    """
    code = _run(arguments)
    _discard_unwritten_output()
    return code


def _run(arguments: Sequence[str] | None) -> int:
    from hybrid_batch.data.errors import HybridBatchError, Interrupted, WrongUsage

    try:
        cli.main(arguments, standalone_mode=False)
        # Buffered output reaches a full disk only when it is flushed; at exit Python would report that, with code 120.
        if sys.stdout is not None:  # as after `>&-`
            sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted.", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except HybridBatchError as error:
        return _fail(str(error), 130 if isinstance(error, Interrupted) else 2 if isinstance(error, WrongUsage) else 1)
    except BrokenPipeError:
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _fail("The disk is full; nothing more can be written.", 1)
    return 0


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # stderr may be on the same full disk
        click.echo(f"hybrid-batch: {message}", err=True)
    return code


def _discard_unwritten_output() -> None:
    """Redirect an output that cannot be flushed to the null device, because Python flushes both again at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
