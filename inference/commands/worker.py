"""`hybrid-batch worker`: process inference requests of an SQS queue with the tails of a model."""

import click

from hybrid_batch.data.terminal.messages import print_json, print_message
from hybrid_batch.inference.commands.options import ModelReference, cuts_option, max_compiled_option, runtime_option


@click.command("worker", short_help="Process requests of a queue with a model's tails.")
@click.argument("model", type=ModelReference(), default="digits")
@click.option("--queue", required=True, metavar="NAME|URL", help="Amazon SQS queue.")
@runtime_option
@click.option(
    "--max-batch", type=click.IntRange(1), default=64, show_default=True, help="Images in one call of the runtime."
)
@click.option("--spill", metavar="s3://…", help="S3 prefix for bodies that are too large for a queue.")
@cuts_option
@max_compiled_option
@click.option(
    "--shutdown-timeout",
    type=click.FloatRange(0),
    default=20,
    show_default=True,
    metavar="SECONDS",
    help="Time for running requests on SIGTERM or Ctrl-C.",
)
@click.option(
    "--idle-timeout", type=click.FloatRange(0), metavar="SECONDS", help="Exit after this time without requests."
)
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON object on stdout.")
def command(
    model: str,
    *,
    queue: str,
    runtime: str,
    max_batch: int,
    spill: str | None,
    cuts: tuple[str, ...],
    max_compiled_mb: int,
    shutdown_timeout: float,
    idle_timeout: float | None,
    as_json: bool,
) -> None:
    """Process inference requests of a queue with the tails of MODEL.

    Any number of workers can share a queue. The queue delivers the requests of a killed worker to another one. On
    SIGTERM and Ctrl-C the worker accepts no more requests and finishes running ones within --shutdown-timeout.

    \b
    Example:
      hybrid-batch worker digits --queue tails
      hybrid-batch run ./images --split c005 --tail sqs:tails
    """
    from dataclasses import asdict

    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.serving.sqs.main import WorkerSettings, run_worker

    bundle = resolve_model(model, print_message)
    settings = WorkerSettings(
        bundle, queue, runtime, max_batch, spill, shutdown_timeout, idle_timeout, cuts, max_compiled_mb << 20
    )
    totals = run_worker(settings, print_message)
    if as_json:
        print_json(asdict(totals))
    else:
        print_message(f"{totals.answered:,} requests answered, {totals.refused:,} refused, {totals.dropped:,} dropped.")
