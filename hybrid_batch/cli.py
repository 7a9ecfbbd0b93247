"""The `hybrid-batch` command: assembles its commands lazily and maps errors to exit codes; nothing else.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

import errno
from collections.abc import Sequence
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


class LazyGroup(click.Group):
    """Imports a command's module when the command is named; the modules themselves import heavy libraries late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The module's `command`."""
        if cmd_name not in COMMANDS:
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

    The first layers run here, the rest in another process or in the cloud; every prediction is logged exactly once,
    and MapReduce jobs compute from the log what that does to accuracy, latency and bytes.

    Options may also stand in hybrid-batch.toml ([run] batch-size = 64) or in the environment
    (HYBRID_BATCH_RUN_BATCH_SIZE=64).

    \b
    Example:
      hybrid-batch run ./images --model digits --split c005
      hybrid-batch evaluate hybrid-batch-log
    """
    ctx.default_map = read_config(CONFIG_FILE)


def read_config(path: Path) -> dict[str, Any]:
    """Option defaults by command from a TOML file; empty without one. Raises WrongUsage when it cannot be read."""
    if not path.is_file():
        return {}
    import tomllib

    from hybrid_batch.data.errors import WrongUsage

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{path} is not valid TOML: {error}.") from error
    if unknown := [name for name, table in tables.items() if name not in COMMANDS or not isinstance(table, dict)]:
        raise WrongUsage(f"{path} has {unknown[0]!r}, which is no table of a command ({', '.join(COMMANDS)}).")
    defaults = {
        command: {option.replace("-", "_"): value for option, value in options.items()}
        for command, options in tables.items()
    }
    for command, options in defaults.items():
        found = import_module(COMMANDS[command]).command
        known = {parameter.name for parameter in found.params}
        if not isinstance(found, click.Group) and (strange := sorted(options.keys() - known)):
            raise WrongUsage(f"{path} sets {strange[0]!r} for {command}, which has no such option.")
    return defaults


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    from hybrid_batch.data.errors import HybridBatchError, Interrupted, WrongUsage

    try:
        cli.main(arguments, standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted.", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except HybridBatchError as error:
        return _fail(str(error), 130 if isinstance(error, Interrupted) else 2 if isinstance(error, WrongUsage) else 1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _fail("The disk is full; nothing more can be written.", 1)
    return 0


def _fail(message: str, code: int) -> int:
    click.echo(f"hybrid-batch: {message}", err=True)
    return code
