"""`hybrid-batch.toml` in the folder of a stranger sets harmless options only: no address, no file, no secret."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hybrid_batch.cli import cli, main
from hybrid_batch.configuration.option_checks import option_key
from tests.conftest import HANG_S, ROOT

IMAGES = str(ROOT / "data/digits/images/3")
COMMAND = str(Path(sys.executable).with_name("hybrid-batch"))
HARMLESS = {
    "run": {"batch-size", "shard-size", "in-flight", "limit", "patience"},
    "import": {"scale", "resize", "colour", "size"},
    "cuts": {"multi-tensor", "verify"},
    "profile": {"batch-size"},
    "plan": {"objective", "min-rate", "batch-size", "in-flight", "all", "max-sent-bytes"},
    "serve": {"max-batch", "max-request-mb", "max-pending"},
    "worker": {"max-batch"},
    "export": {"format"},
    "evaluate": {"by", "all-runs", "no-files"},
    "report": {"by", "all-runs"},
    "compare": {"by", "fail-if"},
    "emr.submit": {"by"},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder; the user's configuration folder is beside it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path / "clone"


@pytest.fixture
def user_file(tmp_path):
    path = tmp_path / "settings" / "hybrid-batch" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def every_option() -> Iterator[tuple[str, click.Parameter]]:
    """Each parameter of each command, with the section of the command."""

    def walk(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Parameter]]:
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            if isinstance(command, click.Group):
                yield from walk(command, f"{prefix}{name}.")
            elif command is not None:
                yield from ((f"{prefix}{name}", parameter) for parameter in command.params)

    return walk(cli, "")


def value_of(parameter: click.Parameter) -> str:
    """A value of the parameter's type, as TOML writes it."""
    if getattr(parameter, "is_flag", False):
        return "true"
    if isinstance(parameter.type, click.IntRange | click.FloatRange):
        return str(parameter.type.min or 1)
    value = next(iter(getattr(parameter.type, "choices", ())), "x")
    return f"['{value}']" if parameter.multiple or parameter.nargs != 1 else f"'{value}'"


def refuse(capsys, *arguments: str) -> str:
    """The one sentence with which a command refuses its configuration."""
    assert main(arguments or ["completion", "bash"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_only_the_listed_options_of_all_commands_are_accepted(folder, capsys):
    """An option that is added to a command is refused until it is added to this list and to the program's."""
    accepted: dict[str, set[str]] = {}
    for section, parameter in every_option():
        key = option_key(parameter)
        (folder / "hybrid-batch.toml").write_text(f"[{section}]\n{key} = {value_of(parameter)}\n")
        code = main(["completion", "bash"])
        captured = capsys.readouterr()
        if code == 0:
            accepted.setdefault(section, set()).add(key)
            continue
        assert captured.out == ""
        assert (
            f"hybrid-batch.toml sets {key!r} in [{section}], which a file in the working folder may not" in captured.err
        )
    for options in accepted.values():
        options -= {"json"}
    assert {section: options for section, options in accepted.items() if options} == HARMLESS


@pytest.mark.parametrize("key", ["tail", "token-file", "spill", "log", "model", "runtime", "labels", "split", "quiet"])
def test_a_refusal_names_the_key_the_file_and_the_places_that_may_set_it(folder, key, capsys, tmp_path):
    (folder / "hybrid-batch.toml").write_text(f"[run]\n{key} = 'x'\n")
    message = refuse(capsys, "run", IMAGES)
    assert message == (
        f"hybrid-batch: hybrid-batch.toml sets '{key}' in [run], which a file in the working folder may not set; "
        f"remove it, and use [run] of {tmp_path}/settings/hybrid-batch/config.toml, "
        f"HYBRID_BATCH_RUN_{key.replace('-', '_').upper()} or --{key}.\n"
    )


def test_one_note_names_the_files_in_force(folder, user_file, capsys):
    user_file.write_text("[cuts]\nmulti-tensor = true\nruntime = 'openvino'\n")
    (folder / "hybrid-batch.toml").write_text("[cuts]\njson = true\n")
    note = f"Note: cuts uses multi-tensor, runtime from {user_file} and json from hybrid-batch.toml.\n"
    assert main(["cuts"]) == 0
    assert capsys.readouterr().err == note
    assert main(["cuts", "-q"]) == main(["-q", "cuts"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["cuts", "--runtime", "openvino", "--json", "--multi-tensor"]) == 0
    assert capsys.readouterr().err == "", "no option of a file is in force"


def test_the_user_file_sets_what_the_folder_may_not(folder, user_file, capsys):
    user_file.write_text("[run]\nsplit = 'local'\nlog = 'mine'\nbatch-size = 8\nquiet = true\n")
    (folder / "hybrid-batch.toml").write_text("[run]\nbatch-size = 4\n")
    assert main(["run", IMAGES]) == 0
    assert (folder / "mine").is_dir()
    assert capsys.readouterr().err == ""


def test_a_limit_is_only_lowered(folder, user_file, capsys):
    (folder / "hybrid-batch.toml").write_text("[serve]\nmax-request-mb = 65\n")
    assert "to 65, but a file in the working folder may only lower it, from 64; remove it" in refuse(capsys)
    user_file.write_text("[serve]\nmax-request-mb = 8\n")
    (folder / "hybrid-batch.toml").write_text("[serve]\nmax-request-mb = 9\n")
    assert "may only lower it, from 8;" in refuse(capsys)
    (folder / "hybrid-batch.toml").write_text("[serve]\nmax-request-mb = 8\n")
    assert main(["completion", "bash"]) == 0


def test_a_file_of_the_folder_is_a_regular_file_of_its_owner(folder, tmp_path, capsys):
    config, other = folder / "hybrid-batch.toml", tmp_path / "other"
    other.write_text("[cuts]\njson = true\n")
    config.symlink_to(other)
    assert "hybrid-batch.toml is a symbolic link, which may name any file" in refuse(capsys)
    config.unlink()
    config.symlink_to("absent")
    assert "is a symbolic link" in refuse(capsys)
    config.unlink()
    os.mkfifo(config)
    assert "it is not a regular file" in refuse(capsys)
    config.unlink()
    config.write_bytes(b"#" * ((1 << 20) + 1))
    assert "larger than 1 MiB" in refuse(capsys)
    config.write_text("x = " + "[" * 100_000)
    assert "hybrid-batch.toml is not valid TOML" in refuse(capsys)
    if os.geteuid() == 0:
        config.write_text("")
        os.chown(config, 54321, -1)
        assert "hybrid-batch.toml belongs to another user (id 54321)" in refuse(capsys)
        os.chown(folder, 54321, -1)
        assert main(["completion", "bash"]) == 0, "the owner of the folder"


def test_a_user_file_that_others_can_write_is_refused(user_file, capsys):
    user_file.write_text("[cuts]\njson = true\n")
    for path, mode in ((user_file, 0o666), (user_file, 0o620), (user_file.parent, 0o777)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert refuse(capsys) == (f"hybrid-batch: {path} can be written by other users; run `chmod go-w {path}`.\n")
        path.chmod(before)
    assert main(["completion", "bash"]) == 0


def test_a_relative_configuration_folder_is_not_read(folder, capsys, monkeypatch):
    """XDG_CONFIG_HOME=.config would be a folder of the clone."""
    (folder / ".config" / "hybrid-batch").mkdir(parents=True)
    (folder / ".config" / "hybrid-batch" / "config.toml").write_text("[cuts]\njson = true\n")
    for home in (".config", "./.config", ""):
        monkeypatch.setenv("XDG_CONFIG_HOME", home)
        monkeypatch.setenv("HOME", str(folder / "home"))
        assert main(["cuts"]) == 0
        assert not capsys.readouterr().out.startswith("[")
    monkeypatch.setenv("HOME", ".")
    assert main(["cuts"]) == 0
    assert not capsys.readouterr().out.startswith("[")


def test_an_environment_file_of_the_folder_is_not_read(folder, capsys):
    (folder / ".env").write_text("HYBRID_BATCH_CUTS_JSON=1\nAWS_PROFILE=other\n")
    assert main(["cuts"]) == 0
    assert not capsys.readouterr().out.startswith("[")


def run_in(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr


IMPORT = """
import sys
from hybrid_batch.inference.model import tensorflow_loader
sys.path.append(sys.argv[1])
assert tensorflow_loader._import("drawing_library").figures is None
import matplotlib
"""


def test_a_library_of_models_does_not_import_matplotlib(folder, tmp_path):
    """As Keras does: matplotlib would read its file, here a pipe without a writer, and import the module it names."""
    (tmp_path / "drawing_library.py").write_text(
        "try:\n    import matplotlib.pyplot as figures\nexcept ImportError:\n    figures = None\n"
    )
    os.mkfifo(folder / "matplotlibrc")
    run_in(folder, sys.executable, "-P", "-c", IMPORT.replace("import matplotlib\n", ""), str(tmp_path))
    (folder / "matplotlibrc").unlink()
    run_in(folder, sys.executable, "-P", "-c", IMPORT, str(tmp_path))  # later imports are not prevented


@pytest.mark.slow
@pytest.mark.long
def test_keras_reads_no_settings_of_the_folder(folder):
    """A read of one of these pipes would wait for ever, and `run_in` fails a command that does not end."""
    for name in ("matplotlibrc", "keras.json", ".env", "pyvenv.cfg", "plugins.xml", ".netrc"):
        os.mkfifo(folder / name)
    run_in(folder, COMMAND, "cuts", "digits", "--runtime", "tensorflow", "--verify")


DRAW = """
from hybrid_batch.inference.planner.plan.plot import import_figure
import_figure()().savefig("figure.svg")
"""


def test_drawings_do_not_read_the_file_of_matplotlib_in_the_folder(folder):
    (folder / "matplotlibrc").write_text("savefig.facecolor: red\n")
    run_in(folder, sys.executable, "-P", "-c", DRAW)
    assert "#ff0000" not in (folder / "figure.svg").read_text()


@pytest.mark.parametrize("program", [(COMMAND,), (sys.executable, "-m", "hybrid_batch")], ids=["command", "module"])
def test_modules_in_the_folder_are_not_imported(folder, program):
    marker = folder / "imported"
    for name in ("numpy", "click", "msgspec", "multiprocessing", "socket", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write({name!r})\n")
    run_in(folder, *program, "cuts")
    assert not marker.exists()


def test_child_processes_do_not_import_modules_of_the_folder(folder, monkeypatch):
    """multiprocessing starts `python -c`, which puts the working folder first on the path."""
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # so that the former value returns
    monkeypatch.delenv("PYTHONSAFEPATH")
    monkeypatch.setattr(sys, "argv", ["hybrid-batch", "completion", "bash"])
    assert main() == 0
    (folder / "json.py").write_text("raise SystemExit(3)\n")
    run_in(folder, sys.executable, "-c", "import json; json.dumps")
