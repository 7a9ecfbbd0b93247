"""The SBOM, the list of licences and the audit of what is locked."""

import csv
import importlib.util
import json
import re
import sys
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT

LOCK = ROOT / "requirements.lock"


@pytest.fixture(scope="module")
def supply_chain() -> ModuleType:
    spec = importlib.util.spec_from_file_location("supply_chain", ROOT / "docs" / "supply_chain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_everything_is_locked_with_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.read_text().strip())
    packages = [entry for entry in entries if not entry.startswith("#")]
    assert len(packages) > 100
    assert not [
        entry.partition(" ")[0] for entry in packages if not re.match(r"[\w.-]+==\S+[^#]*--hash=sha256:", entry)
    ]


@pytest.mark.slow
def test_the_sbom_lists_what_is_locked(supply_chain: ModuleType, tmp_path: Path) -> None:
    """A part of the lock file: click and what requires it, with a package that no system here installs."""
    entries = re.split(r"\n(?=\S)", LOCK.read_text().strip())
    part = [entry for entry in entries if re.match(r"(click|uvicorn|h11|colorama|matplotlib)==", entry)]
    (tmp_path / "lock").write_text("\n".join(part) + "\n")
    assert supply_chain.write_sbom(tmp_path / "lock", tmp_path / "sbom") == len(part) == 5
    text = (tmp_path / "sbom" / "hybrid-batch.cdx.json").read_text()
    document = json.loads(text)
    components = {component["name"]: component for component in document["components"]}
    pinned = dict(re.match(r"([\w.-]+)==(\S+)", entry).groups() for entry in part)  # type: ignore[union-attr]
    assert {name: one["version"] for name, one in components.items()} == pinned
    assert components["click"]["externalReferences"][0]["hashes"][0]["alg"] == "SHA-256"
    edges = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    assert set(edges["hybrid-batch"]) == {components[name]["purl"] for name in ("click", "uvicorn", "matplotlib")}
    assert set(edges[components["uvicorn"]["purl"]]) == {components[name]["purl"] for name in ("click", "h11")}
    with (tmp_path / "sbom" / "licences.csv").open() as file:
        licences = {row["package"]: row["licence"] for row in csv.DictReader(file)}
    assert licences["click"] == "BSD-3-Clause"
    assert licences["colorama"].startswith("unknown" if sys.platform == "linux" else "BSD")
    document["components"][0]["type"] = "song"
    with pytest.raises(SystemExit, match="not valid CycloneDX"):
        supply_chain.validate(json.dumps(document))
    del document["components"][0]
    with pytest.raises(SystemExit, match="has no such component"):
        supply_chain.validate(json.dumps(document))


def test_installed_packages_have_a_licence(supply_chain: ModuleType) -> None:
    locked = set(supply_chain.read_requirers(LOCK))
    installed = {supply_chain.normal(found.metadata["Name"]) for found in distributions()} & locked
    unknown = {name for name in installed if supply_chain.licence_of(name).startswith("unknown")}
    assert unknown <= {"namex"}  # whose repository has the licence


def test_an_audit_that_reaches_nothing_fails(supply_chain: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    clean = {"name": "a", "version": "1", "vulns": []}
    hit = {"name": "b", "version": "2", "vulns": [{"id": "X-1"}, {"id": "X-2"}]}
    skipped = {"name": "c", "skip_reason": "not found"}
    assert supply_chain.summarise([clean, clean]) == "2 packages were audited; none has an advisory."
    with pytest.raises(SystemExit, match="1 of 2 packages have advisories"):
        supply_chain.summarise([clean, hit])
    assert capsys.readouterr().err == "b 2: X-1, X-2\n"
    with pytest.raises(SystemExit, match=r"1 of 3 packages were not audited.*not found\); 1 of the others"):
        supply_chain.summarise([clean, hit, skipped])


@pytest.mark.slow
def test_an_audit_without_an_answer_is_one_sentence(
    supply_chain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").write_text("click==8.2.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens
        monkeypatch.setenv(variable.upper(), "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(SystemExit, match=r"(No package was|1 of 1 packages were not) audited.*cannot be reached"):
        supply_chain.audit(tmp_path / "lock")
