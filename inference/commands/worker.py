"""`hybrid-batch worker`: answer the requests of a queue with the tails of a model."""

import click


@click.command("worker", short_help="Answer the requests of a queue with a model's tails.")
@click.argument("model", default="digits")
@click.option("--queue", required=True, metavar="NAME|URL", help="The queue of Amazon SQS to work for.")
@click.option("--engine", type=click.Choice(["openvino", "tensorflow"]), default="openvino", show_default=True)
@click.option("--max-batch", type=click.IntRange(1), default=64, show_default=True, help="Images in one engine call.")
@click.option("--spill", metavar="s3://…", help="Where requests and replies lie that are too large for a queue.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=20,
    show_default=True,
    metavar="SECONDS",
    help="To finish when stopped.",
)
@click.option("--idle-exit", type=click.FloatRange(0), metavar="SECONDS", help="Stop when nothing came for so long.")
@click.option("--json", "as_json", is_flag=True, help="The totals as one JSON object on stdout.")
def command(
    model: str,
    *,
    queue: str,
    engine: str,
    max_batch: int,
    spill: str | None,
    grace: float,
    idle_exit: float | None,
    as_json: bool,
) -> None:
    """Answer the requests of a queue with the tails of MODEL.

    Any number of workers may share a queue, and may come and go: what a worker had in hand when it was killed the
    queue gives to another. SIGTERM and Ctrl-C finish what is in hand, within --grace seconds.

    \b
    Example:
      hybrid-batch worker digits --queue tails
      hybrid-batch run ./images --split c005 --tail sqs:tails
    """
    import json
    from dataclasses import asdict

    from hybrid_batch.inference.model.importing.resolve_model import open_model
    from hybrid_batch.inference.serving.sqs.main import WorkerSettings, work

    def say(line: str) -> None:
        click.echo(line, err=True)

    bundle = open_model(model, say)
    totals = work(WorkerSettings(bundle, queue, engine, max_batch, spill, grace, idle_exit), say)
    if as_json:
        click.echo(json.dumps(asdict(totals)))
    else:
        say(f"{totals.answered:,} requests answered, {totals.refused:,} refused, {totals.dropped:,} dropped.")
