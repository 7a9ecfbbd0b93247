"""`hybrid-batch report`: the evaluation of a run as one HTML page."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from hybrid_batch.data.terminal.messages import ask, print_line, print_note

_DEFAULT = "hybrid-batch-report.html"


@click.command("report", short_help="Write the evaluation of runs as one HTML file.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="FILE|s3://…",
    default=_DEFAULT,
    show_default=True,
    help="File for the page. An older page remains until the new one is complete.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Slice by this column too. Repeatable.")
@click.option("--all-runs", is_flag=True, help="Report on all runs of a LOG together.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out parts that cannot be counted, and name them.")
@click.option("--images", metavar="DIR|s3://…", help="Folder of the images.  [default: that of your own run]")
def command(
    *,
    runs: tuple[str, ...],
    output: str,
    show: bool,
    by: tuple[str, ...],
    all_runs: bool,
    skip_unreadable: bool,
    images: str | None,
) -> None:
    """Write the evaluation of one or more RUNs as one HTML file.

    The file is self-contained: it needs no network and no scripts, so it can be mailed and archived. It includes
    thumbnails of the images with the most confident errors and of failed images, if you started the run on this machine
    or name the folder of its images with --images. The folder that another log states is read only after a question.

    \b
    Example:
      hybrid-batch report hybrid-batch-log --open
    """
    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.data.terminal.default_outputs import check_default
    from hybrid_batch.evaluation.output.html import write_html
    from hybrid_batch.jobs.engines.dispatch import EngineChoice, evaluate_runs
    from hybrid_batch.jobs.input.run_facts import read_run_facts
    from hybrid_batch.jobs.output.page_file import write_page
    from hybrid_batch.jobs.output.thumbnails import thumbnail_loader

    if show and "://" in output:
        raise WrongUsage(f"--open needs a local file, not {output}; name one with --output.")
    if output == _DEFAULT:
        check_default(output, "--output")
    done = evaluate_runs(runs, by, print_note, EngineChoice(), all_runs=all_runs, skip_unreadable=skip_unreadable)
    facts = read_run_facts(done.runs)
    roots = [images] if images else _image_roots(done.runs)
    page = write_html(done.report, thumbnail_loader(roots), facts, done.notes)
    write_page(page, output)
    print_line(str(output))
    if done.report["exemplars"] and "<img" not in page:
        reason = "no image could be read" if roots else "another user or machine made the run"
        print_note(f"The page has no thumbnails, because {reason}; name the folder of the images with --images.")
    if show and click.launch(str(Path(output).resolve()), wait=True) != 0:
        print_note(f"Cannot open a browser; open {output} yourself.")


def _image_roots(runs: Sequence[str]) -> list[str]:
    """The folders of the images: those of the user's own runs, and those that logs state if the user agrees."""
    from hybrid_batch.jobs.input.image_roots import find_image_roots

    roots = find_image_roots(runs)
    found = list(roots.own)
    for root in roots.stated:
        if sys.stdin and sys.stdin.isatty() and ask(f"The log names {root!r} as the folder of its images. Embed them?"):
            found.append(root)
    return found
