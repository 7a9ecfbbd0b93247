"""The configuration file: types, ranges and unknown names are refused in one sentence with file, section and key."""

import pytest

from hybrid_batch.cli import main

NO_INTEGER = "but it takes an integer, not"


@pytest.fixture(autouse=True)
def user_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "hybrid-batch" / "config.toml"
    path.parent.mkdir()
    return path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[run]\nbatch-size = [8]\n", f"sets 'batch-size' in [run] to [8], {NO_INTEGER} an array."),
        ("[run]\nbatch-size = true\n", f"sets 'batch-size' in [run] to true, {NO_INTEGER} a boolean."),
        ("[run]\nbatch_size = '8'\n", f"sets 'batch_size' in [run] to '8', {NO_INTEGER} a string."),
        ("[run]\nbatch-size = 8.5\n", f"sets 'batch-size' in [run] to 8.5, {NO_INTEGER} a number."),
        ("[run]\nbatch-size = 0\n", "sets 'batch-size' in [run] to 0, but 0 is not in the range 1<=x<=1024."),
        ("[run]\nbatch-size = 2020-01-01\n", f"{NO_INTEGER} a date or time."),
        ("[run.batch-size]\n", f"sets 'batch-size' in [run] to {{}}, {NO_INTEGER} a table."),
        ("[run]\nmax-accuracy-drop = 'low'\n", "to 'low', but it takes a number, not a string."),
        ("[run]\nmodel = 3\n", "sets 'model' in [run] to 3, but it takes a string, not an integer."),
        ("[run]\njson = 'yes'\n", "sets 'json' in [run] to 'yes', but it takes a boolean, not a string."),
        ("[import]\nscale = '0-2'\n", "to '0-2', but '0-2' is not one of '0-255', '0-1', '-1-1', 'caffe', 'torch'."),
        ("[evaluate]\nby = 'label'\n", "sets 'by' in [evaluate] to 'label', but it takes an array, such as ['label']."),
        ("[evaluate]\nby = [1]\n", "but each item of its array: it takes a string, not an integer."),
        ("[cloud.deploy]\nmemory = true\n", f"sets 'memory' in [cloud.deploy] to true, {NO_INTEGER} a boolean."),
        (
            "[run]\nbatchsize = 8\n",
            "'batchsize' in [run], but that command has no such option; did you mean 'batch-size'?",
        ),
        (
            "[run]\nzzz = 8\n",
            "sets 'zzz' in [run], but that command has no such option; `hybrid-batch run --help` lists the options.",
        ),
        ("[rum]\nx = 1\n", "has a section [rum], but hybrid-batch has no such command; did you mean [run]?"),
        ("[cloud.deplo]\n", "[cloud.deplo], but hybrid-batch has no such command; did you mean [cloud.deploy]?"),
        ("[cloud]\nmemory = 512\n", "has a section [cloud.memory], but hybrid-batch has no such command; "),
        ("run = 3\n", "sets 'run' to a value, but it is a command; write a section [run]."),
        ("[run\n", "is not valid TOML: "),
        (b"\xff", "is not UTF-8 ("),
    ],
    ids=lambda value: repr(value)[:40] if value is not None else "",
)
def test_a_wrong_value_or_name_is_one_sentence(text, sentence, capsys, user_file):
    user_file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["cuts"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("hybrid-batch: ")
    assert "hybrid-batch/config.toml" in captured.err
    assert sentence in captured.err


def test_right_values_are_the_defaults_of_options(capsys, user_file):
    user_file.write_text(
        '[cuts]\njson = true\nmulti-tensor = true\n[evaluate]\nby = ["label"]\n'
        '[run]\nmax-accuracy-drop = 1\ncodec = "auto"\n[cloud.deploy]\nmax-workers = 3\nspot = true\n'
    )
    assert main(["cuts"]) == 0
    assert capsys.readouterr().out.startswith("[")
    user_file.write_text("[cloud.deploy]\nmax-workers = 101\n")
    assert main(["cloud", "deploy", "--help"]) == 2
    assert "101 is not in the range 0<=x<=100" in capsys.readouterr().err


def test_a_file_that_is_too_large_or_no_file_is_one_sentence(capsys, user_file):
    user_file.write_bytes(b"#" * (1 << 20) + b"#")
    assert main(["cuts"]) == 2
    assert "config.toml is larger than 1 MiB, too large for configuration" in capsys.readouterr().err
    user_file.unlink()
    user_file.mkdir()
    assert main(["cuts"]) == 2
    assert f"Cannot read the configuration in {user_file}: Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("HYBRID_BATCH_CUTS_MULTITENSOR", "sets no option of cuts; did you mean HYBRID_BATCH_CUTS_MULTI_TENSOR?"),
        ("HYBRID_BATCH_ZZZZZZZ", "sets no option of cuts; `hybrid-batch cuts --help` lists them."),
    ],
)
def test_a_misspelt_variable_is_noted(variable, hint, capsys, monkeypatch):
    monkeypatch.setenv(variable, "1")
    assert main(["cuts"]) == 0
    assert capsys.readouterr().err == f"Note: The variable {variable} {hint}\n"


def test_known_variables_and_those_of_other_commands_are_not_noted(capsys, monkeypatch):
    for name in ("CACHE", "TAIL_TOKEN", "CUTS_MULTI_TENSOR", "RUN_BATCH_SIZE", "RUN_ZZZ"):
        monkeypatch.setenv(f"HYBRID_BATCH_{name}", "1")
    monkeypatch.setenv("HYBRID_BATCH_CLOUD_DEPLOY_MEMORY", "1")
    assert main(["cuts"]) == 0
    assert main(["cloud", "--help"]) == 0
    assert capsys.readouterr().err == ""


def test_a_wrong_value_names_its_variable(capsys, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_RUN_BATCH_SIZE", "abc")
    assert main(["run", "x"]) == 2
    assert "'abc' is not an integer, in the variable HYBRID_BATCH_RUN_BATCH_SIZE; " in capsys.readouterr().err
    assert main(["run", "x", "--batch-size", "b"]) == 2
    assert "'b' is not an integer; " in capsys.readouterr().err
