"""`hybrid-batch compare`: what changed between two runs over the same images."""

import click

ENGINES = {
    "inline": "hybrid_batch.jobs.compare_inline",
    "mrjob": "hybrid_batch.jobs.compare_mrjob",
    "spark": "hybrid_batch.jobs.compare_spark",
}
RUNNERS = ("inline", "local", "spark")


@click.command("compare", short_help="Compare two runs, image by image.")
@click.argument("run_a")
@click.argument("run_b")
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="inline",
    show_default=True,
    help="Threads of this process, an mrjob job, or Spark on this machine; the result is the same to the byte.",
)
@click.option(
    "--runner",
    type=click.Choice(RUNNERS),
    help="mrjob's runner, for --engine mrjob: this process, processes, or Spark.  [default: inline]",
)
@click.option("--by", multiple=True, metavar="COLUMN", help="Slice by this column too; may be given more than once.")
@click.option("--skip-bad", is_flag=True, help="Leave out parts that cannot be read, and name them.")
@click.option("--json", "as_json", is_flag=True, help="The comparison as canonical JSON on stdout.")
@click.option(
    "--fail-if",
    "limits",
    multiple=True,
    metavar="CONDITION",
    help="Exit with 1 when this holds, as in 'accuracy_drop > 0.5pt'; may be given more than once.",
)
def command(
    *,
    run_a: str,
    run_b: str,
    engine: str,
    runner: str | None,
    by: tuple[str, ...],
    skip_bad: bool,
    as_json: bool,
    limits: tuple[str, ...],
) -> None:
    """Compare RUN_A with RUN_B, image by image: accuracy, times, bytes.

    Each is the folder of a run (LOG/run=ID), or a LOG that holds a single run; local or s3://. McNemar's test says
    whether their accuracies differ, overall and for each label, folder and COLUMN.

    \b
    Example:
      hybrid-batch compare log/run=fp16 log/run=int8
      hybrid-batch compare log/run=old log/run=new --fail-if "accuracy_drop > 0.5pt" --fail-if "latency_p95_ratio > 1.1"
    """
    from importlib import import_module

    from hybrid_batch.data.errors import LimitExceeded, WrongUsage
    from hybrid_batch.evaluation.comparison.comparison import build, to_json
    from hybrid_batch.evaluation.comparison.fail_if import parse
    from hybrid_batch.evaluation.output.terminal_comparison import print_comparison
    from hybrid_batch.jobs.input.comparison_input import find_comparing

    if runner and engine != "mrjob":
        raise WrongUsage(f"--runner {runner} is one of mrjob's; add --engine mrjob.")
    conditions = [parse(text) for text in limits]
    comparing = find_comparing((run_a, run_b), by, skip_bad)
    for note in comparing.notes:
        click.echo(f"Note: {note}", err=True)
    compare = import_module(ENGINES[engine]).compare  # late: mrjob is an extra
    comparison = build(compare(comparing, **({"runner": runner} if runner else {})), skip_bad)
    if as_json:
        click.echo(to_json(comparison))
    else:
        print_comparison(comparison)
    failures = [failure for condition in conditions if (failure := condition.failure(comparison))]
    if failures:
        raise LimitExceeded(" ".join(failures))
