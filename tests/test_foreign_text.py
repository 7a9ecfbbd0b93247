"""Text of others on the terminal: it adds no line and hides no character. Numbers of others: they are finite."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hybrid_batch.cli import cli, main
from hybrid_batch.data.terminal.escapes import escape_controls, escape_line
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH
from tests.factories.records import random_records, write_run

HIDDEN = "\u00ad\u034f\u200b\u200d\u2028\u2060\u2069\u3164\ufe0f\ufeff\U000e0001\U000e007f"


def float_options(group: click.Group, context: click.Context, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command with each of its options that take a number with a fraction."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from float_options(command, context, (*words, name))
        elif command is not None:
            options = [option for option in command.params if isinstance(option.type, click.types.FloatParamType)]
            yield from ((*words, name, max(option.opts, key=len)) for option in options)


OPTIONS = list(float_options(cli, click.Context(cli, info_name="hybrid-batch")))


def test_the_walk_finds_the_options() -> None:
    assert {("run", "--patience"), ("plan", "--min-rate"), ("emr", "submit", "--timeout")} <= set(OPTIONS)


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_no_option_takes_a_number_that_is_not_finite(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(tmp_path)
    *command, option = words
    for text in ("nan", "inf", "-inf", "1e999"):
        assert main([*command, option, text]) == 2
        assert option in capsys.readouterr().err


def test_variables_and_files_of_the_user_are_finite_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("HYBRID_BATCH_RUN_PATIENCE", "nan")
        assert main(["run", "images"]) == 2
        assert "nan is not a finite number" in capsys.readouterr().err
    (file := tmp_path / "settings" / "hybrid-batch" / "config.toml").parent.mkdir(parents=True)
    file.write_text("[run]\npatience = inf\n")
    assert main(["run", "images"]) == 2
    assert "inf is not a finite number" in capsys.readouterr().err


def test_a_file_in_the_working_folder_cannot_lift_a_limit_with_nan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hybrid-batch.toml").write_text("[run]\npatience = nan\n")
    assert main(["run", "images"]) == 2
    assert "finite" in capsys.readouterr().err


def test_characters_without_a_shape_are_escaped() -> None:
    assert escape_controls(HIDDEN).isascii()
    assert escape_controls("naïve 猫 ❤ é\n\t") == "naïve 猫 ❤ é\n\t"
    assert escape_line("a\nb\tc\u200b") == r"a\nb\tc\u200b"


@pytest.mark.parametrize("name", ["cat\nforged  row", "cat\u200b", "cat\U000e0041", "cat\tx"])
def test_class_names_add_no_line_and_hide_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(f"{tmp_path}/run=a", random_records(40, [name, "other"]), 40)
    assert main(["evaluate", f"{tmp_path}/run=a", "--no-files"]) == 0
    out = capsys.readouterr().out
    assert escape_line(name) in out
    assert not [line for line in out.splitlines() if line.lstrip().startswith("forged")]


def test_folders_whose_names_are_no_run_ids_are_not_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(f"{tmp_path}/run=a", random_records(4, ["cat"]), 4)
    shutil.copytree(tmp_path / "run=a", tmp_path / "run=zz\nffffffffffff  trusted")
    settings = json.loads((tmp_path / "run=a" / "_run.json").read_text())
    (tmp_path / "run=a" / "_run.json").write_text(json.dumps(settings | {"bundle_name": "m\nrow  forged"}))
    assert main(["runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "trusted" not in out
    assert not [line for line in out.splitlines() if line.startswith("row")]


def test_names_in_a_bundle_add_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(BUILT_IN_PATH, tmp_path / "evil.bundle")
    file = tmp_path / "evil.bundle" / "bundle.json"
    described = json.loads(file.read_text())
    described["labels"][0] = "zero\nforged 1"
    described["cuts"][1]["name"] = "stem\nforged 2"
    file.write_text(json.dumps(described))
    main(["cuts", str(tmp_path / "evil.bundle")])
    printed = capsys.readouterr()
    assert not [line for line in (printed.out + printed.err).splitlines() if line.lstrip().startswith("forged")]


def test_an_error_with_a_line_feed_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(tmp_path / "a\nhybrid-batch: all good")]) != 0
    assert len(capsys.readouterr().err.splitlines()) == 1
