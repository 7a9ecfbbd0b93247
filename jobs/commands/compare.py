"""`hybrid-batch compare`: the differences between two runs over the same images."""

import click

from hybrid_batch.data.terminal.messages import print_json_text, print_line, print_message, print_note
from hybrid_batch.jobs.commands.engine_options import engine_options


@click.command("compare", short_help="Compare two runs, image by image.")
@click.argument("run_a")
@click.argument("run_b")
@engine_options
@click.option("--skip-unreadable", is_flag=True, help="Leave out parts that are unreadable, and name them.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as canonical JSON.")
@click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Exit with 1 if this holds, as in 'accuracy_drop > 0.5pt'. Repeatable.",
)
def command(
    *,
    run_a: str,
    run_b: str,
    engine: str,
    runner: str | None,
    by: tuple[str, ...],
    skip_unreadable: bool,
    as_json: bool,
    conditions: tuple[str, ...],
) -> None:
    """Compare RUN_A with RUN_B, image by image: accuracy, times, bytes.

    Each is the folder of a run (LOG/run=ID), or a LOG that holds a single run; local or s3://. McNemar's test shows
    whether the accuracies differ significantly, overall and for each label, folder and COLUMN.

    \b
    Example:
      hybrid-batch compare log/run=fp16 log/run=int8
      hybrid-batch compare log/run=old log/run=new --fail-if "accuracy_drop > 0.5pt" --fail-if "latency_p95_ratio > 1.1"
    """
    from hybrid_batch.data.errors import LimitExceeded
    from hybrid_batch.evaluation.comparison.fail_if import parse_condition
    from hybrid_batch.evaluation.output.canonical_json import to_json
    from hybrid_batch.evaluation.output.terminal_comparison import print_comparison
    from hybrid_batch.jobs.engines.dispatch import EngineChoice, compare_runs

    parsed = [parse_condition(text) for text in conditions]
    choice = EngineChoice(engine, runner)
    comparison = compare_runs((run_a, run_b), by, print_note, choice, skip_unreadable=skip_unreadable)
    if as_json:
        print_json_text(to_json(comparison))
    else:
        for side, uri in (("A", run_a), ("B", run_b)):
            print_line(f"{side:12}{_describe(uri)}")
        print_comparison(comparison)
    failures = []
    for condition in parsed:
        if failure := condition.failure(comparison):
            failures.append(failure)
        elif not as_json:
            print_message(f"ok: {condition.value(comparison)}, --fail-if '{condition}' does not hold")
    if failures:
        raise LimitExceeded(" ".join(failures))


def _describe(uri: str) -> str:
    """The model, cut, codec, tail and folder of a run."""
    from hybrid_batch.data.log.runs import open_runs
    from hybrid_batch.jobs.input.run_facts import read_run_facts

    (run,) = open_runs(uri)
    (facts,) = read_run_facts([run.uri])
    known = (("", facts.model), ("cut ", facts.cut), ("codec ", facts.codec), ("tail ", facts.tail), ("", facts.run))
    return ", ".join(f"{name}{value}" for name, value in known if value)
