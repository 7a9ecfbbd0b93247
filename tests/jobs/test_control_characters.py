"""A log of others with control characters and formulas in its texts: none reaches the terminal or a spreadsheet."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hybrid_batch.cli import cli, main
from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.terminal import messages
from hybrid_batch.data.terminal.console import open_console
from hybrid_batch.data.terminal.escapes import escape_controls
from hybrid_batch.jobs.output.export import FORMATS
from tests.factories.records import record, write_run

ATTACKS = {
    "colour": "\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;ZWNobw==\x1b\\",
    "C1 CSI": "\x9b2Jwiped",
    "line rewritten": "bad\rgood",
    "erased": "bad\b\b\bgood",
    "DEL": "a\x7fb",
    "direction": "gnp.\u202eexe",
    "isolate": "a\u2066b\u2069",
    "NEL": "a\x85b",
    "half of a pair": "a\udc9bb",
}
FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "\uff1d1", "\n=1"]
FORBIDDEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_controls_are_escaped_and_other_text_is_kept(text: str) -> None:
    escaped = escape_controls(text)
    assert not FORBIDDEN.search(escaped)
    escaped.encode()
    assert escape_controls(escaped) == escaped
    assert escape_controls("Größe 日本 🙂\n\tx") == "Größe 日本 🙂\n\tx"


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_messages_notes_warnings_errors_and_questions_are_escaped(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    messages.print_message(text)
    messages.print_note(text)
    messages.print_warning(text)
    messages.print_line(text)
    open_console().print(text, markup=False)

    def fail(*_: object, **__: object) -> None:
        raise WrongUsage(text)

    monkeypatch.setattr(cli, "main", fail)
    assert main([]) == 2
    printed = capsys.readouterr()
    for output in (printed.out, printed.err):
        assert not FORBIDDEN.search(output)
    assert printed.err.count(escape_controls(text)) == 4


@pytest.fixture
def hostile_log(tmp_path: Path) -> str:
    log = tmp_path / "log"
    for run in ("one", "two"):
        records = [
            record(image=f"{name}/{text}.png".replace("\0", ""), label=text, prediction=text, cut=f"c{text}", tail=text)
            for name, text in ATTACKS.items()
            if name != "half of a pair"
        ]
        records += [
            record(image=f"e/{text}", label=text, prediction=None, confidence=None, top5=None, error=text)
            for name, text in ATTACKS.items()
            if name != "half of a pair"
        ]
        write_run(f"{log}/run={run}", records, 50)
        settings = log / f"run={run}/_run.json"
        stored = json.loads(settings.read_text())
        stored |= {"bundle_name": ATTACKS["title"], "cut": ATTACKS["colour"], "codec": ATTACKS["C1 CSI"]}
        settings.write_text(json.dumps(stored))
    return str(log)


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "{log}", "--all-runs", "--by", "label", "--by", "tail", "--by", "cut"],
        ["evaluate", "{log}", "--all-runs", "--json"],
        ["compare", "{log}/run=one", "{log}/run=two"],
        ["runs", "{log}"],
        ["evaluate", "{log}/\x1b[31mgone"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]).replace("\x1b", "ESC"),
)
def test_commands_print_no_controls_of_a_log(
    hostile_log: str,
    arguments: list[str],
    terminal: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    main([argument.format(log=hostile_log) for argument in arguments])
    printed = capsys.readouterr()
    style = re.compile(r"\x1b\[[0-9;]*m")  # of this program's own tables
    for output in (printed.out, printed.err):
        assert not FORBIDDEN.search(style.sub("", output) if terminal else output)
        assert "\x1b[31m" not in output
    assert printed.out or printed.err


@pytest.fixture
def formulas(tmp_path: Path) -> str:
    records = [
        record(image=text, label=text, prediction=text, tail=text, error=None) for text in (*FORMULAS, "plain", "a=b")
    ]
    records.append(record(image="e", label="=1", prediction=None, confidence=None, top5=None, error="=HYPERLINK(1)"))
    write_run(f"{tmp_path}/log/run=one", records, 50)
    return f"{tmp_path}/log/run=one"


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]


def is_formula(cell: str) -> bool:
    return cell.startswith(("=", "+", "@", "\t", "\r", "\n", "\uff1d")) or (
        cell.startswith("-") and not re.fullmatch(r"-[\d.e-]+", cell)
    )


def test_exported_texts_are_no_formulas_and_can_be_restored(formulas: str, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    assert main(["export", formulas, "--output", str(target)]) == 0
    text = target.read_bytes().decode()
    assert not [cell for cell in cells(text) if is_formula(cell)]
    images = [row["image"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    restored = [re.sub(r"^'(?='*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20])", "", image) for image in images]
    assert restored == [*FORMULAS, "plain", "a=b", "e"]
    assert "plain" in images
    assert "csv" in FORMATS


def test_tables_of_an_evaluation_have_no_formulas(formulas: str, tmp_path: Path) -> None:
    arguments = ["evaluate", formulas, "--by", "label", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    tables = sorted((tmp_path / "out").glob("*.csv"))
    assert len(tables) == 5
    for table in tables:
        assert not [cell for cell in cells(table.read_bytes().decode()) if is_formula(cell)], table.name
    assert "'=HYPERLINK(1)" in (tmp_path / "out/failures.csv").read_text()
