"""Names of models and cuts mean the same in every folder: files of a stranger do not replace built-in names."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import click
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import CutNotFound, MissingExtra, NotABundle
from hybrid_batch.inference.commands.options import CutReference
from hybrid_batch.inference.model import cache
from hybrid_batch.inference.model.bundle import Bundle, read_bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model
from hybrid_batch.inference.model.importing.keras import keras_applications
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH, resolve_model
from hybrid_batch.inference.model.model_names import list_cuts, list_models

NOTE = "Note: digits is the built-in model; ./digits names the one in the working folder."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copy_as(name: str) -> Path:
    """A copy of the built-in bundle."""
    return Path(shutil.copytree(BUILT_IN_PATH, name))


def test_a_folder_digits_does_not_replace_the_built_in_model(capsys: pytest.CaptureFixture[str]) -> None:
    copy_as("digits")
    notes: list[str] = []
    assert resolve_model("digits", notes.append).path == BUILT_IN_PATH
    assert notes == [NOTE]
    theirs = resolve_model("./digits")
    assert (theirs.path, theirs.reference) == (Path("digits"), "./digits")
    assert main(["cuts", "digits", "--json"]) == 0
    assert capsys.readouterr().err == f"{NOTE}\n"


@pytest.mark.parametrize("content", ["saved_model.pb", "images.jpg", None])
def test_a_folder_or_file_digits_of_another_kind_does_not_either(content: str | None) -> None:
    if content is None:
        Path("digits").write_bytes(b"a model file")
    else:
        Path("digits").mkdir()
        Path("digits", content).touch()
    notes: list[str] = []
    assert resolve_model("digits", notes.append).path == BUILT_IN_PATH
    assert notes == ([] if content == "images.jpg" else [NOTE])


def test_a_link_digits_is_not_followed() -> None:
    copy_as("other.bundle")
    Path("digits").symlink_to("other.bundle")
    assert resolve_model("digits").path == BUILT_IN_PATH


def test_completion_lists_the_cuts_of_the_built_in_model() -> None:
    expected = list(list_cuts("digits"))
    description = copy_as("digits") / "bundle.json"
    description.write_text(json.dumps({"cuts": [{"id": "c000", "name": "theirs"}]}))
    assert list(list_cuts("digits")) == expected
    assert list(list_cuts("./digits")) == [("c000", "theirs")]


@pytest.mark.parametrize(
    "name", ["$(id)", "a;id", "a`id`", "a b", "a\nplain,b", "~root", "a\u202eb", "-v", "=ls", "a'b"]
)
def test_completion_leaves_out_names_that_a_shell_interprets(name: str) -> None:
    copy_as(f"{name}.bundle")
    description = copy_as("plain.bundle") / "bundle.json"
    assert list(list_models("")) == ["digits", "app:", "plain.bundle"]
    cuts = [{"id": name, "name": "x"}, {"id": f"c1{name}", "name": "x"}, {"id": "f000", "name": name}]
    description.write_text(json.dumps({"cuts": cuts}))
    assert [cut for cut, _ in list_cuts("plain.bundle")] == ["f000"]
    (context := click.Context(click.Command("run"))).params["model"] = "plain.bundle"
    items = CutReference().shell_complete(context, click.Option(["--split"]), name[:1])
    assert [item.value for item in items] == []


@pytest.mark.parametrize("kind", ["pipe", "device", "nested"])
def test_completion_reads_only_descriptions_with_an_end(kind: str) -> None:
    description = copy_as("a.bundle") / "bundle.json"
    description.unlink()
    if kind == "pipe":
        os.mkfifo(description)
    elif kind == "device":
        description.symlink_to("/dev/zero")
    else:
        description.write_text("[" * 200_000)
    assert list(list_cuts("a.bundle")) == []


def test_a_folder_with_the_name_of_an_application_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise MissingExtra("Keras was asked for.")

    monkeypatch.setattr(keras_applications, "import_keras", refuse)
    copy_as("app:Nothing")
    for open_model in (resolve_model, lambda name: import_model(name, Path("made.bundle"), ImportSettings())):
        with pytest.raises(MissingExtra):
            open_model("app:Nothing")
    assert resolve_model("./app:Nothing").path == Path("app:Nothing")


def renamed(**names: str) -> Bundle:
    """The built-in bundle with other names of cuts, by id."""
    bundle = read_bundle(BUILT_IN_PATH)
    return replace(bundle, cuts=tuple(replace(cut, name=names.get(cut.id, cut.name)) for cut in bundle.cuts))


def test_an_id_is_the_cut_of_this_id() -> None:
    """A bundle that names an early cut as the id of a late one would send more than the user wanted."""
    bundle = renamed(c001="c005", c002="c000")
    assert bundle.cut("c005").id == "c005"
    assert bundle.cut("c000") is bundle.input_cut


def test_a_name_of_two_cuts_is_ambiguous() -> None:
    bundle = renamed(c001="same", c004="same")
    with pytest.raises(CutNotFound, match=r"2 cuts of digits are named 'same'; give an id: c001 or c004\."):
        bundle.cut("same")


@pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator makes files of another user")
@pytest.mark.parametrize("place", ["", "bundles"])
def test_a_cache_with_entries_of_another_user_is_not_used(
    place: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in /tmp that somebody made before: its bundles and compiled segments would be run."""
    theirs = folder / "cache" / place
    theirs.mkdir(parents=True)
    os.chown(theirs, 54321, -1)
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(folder / "cache"))
    notes: list[str] = []
    cache.notify_unwritable_cache(notes.append)
    used = cache.cache_folder("bundles")
    assert folder not in used.parents
    assert f"{theirs} belongs to another user" in notes[0]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_has_no_end_or_is_no_model_is_not_hashed(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = folder / "m.keras"
    if kind == "pipe":
        os.mkfifo(model)
    elif kind == "device":
        model.symlink_to("/dev/zero")
    else:
        model.mkdir()
        os.mkfifo(model / "inner")
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(folder / "cache"))
    with pytest.raises(NotABundle, match=r"neither a (file nor a folder|bundle)"):
        resolve_model(str(model))
    assert not (folder / "cache" / "bundles").exists()
