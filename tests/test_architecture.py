"""The layers: which packages a package may import. Reads all imports, also those inside functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx
import pytest

from tests.conftest import ROOT

# Lowest first: a package imports those before it, never those after it.
FLOORS = {
    "hybrid_batch": ("data", ("evaluation", "inference"), "jobs", "emr", ("completion", "configuration"), "cli"),
    "hybrid_batch.inference": (
        *("model", "protocol", "serving", "tails", "runner", "planner", "cloud", "benchmark", "commands"),
    ),
    "hybrid_batch.inference.planner": ("profile", "calibration", "plan", "adapt"),
    "hybrid_batch.evaluation": ("counting", "statistics", "comparison", "output"),
    "hybrid_batch.data": (
        *(("errors", "backoff"), ("aws", "packaging", "terminal"), "storage", "images", "log", "digits"),
    ),
}
MOST_ENTRIES = 10


def packages() -> list[Path]:
    """Every folder of the product that holds modules."""
    return sorted({module.parent for module in modules()})


def modules() -> list[Path]:
    """Every module of the product, by its path below the root."""
    tops = [ROOT / "hybrid_batch" / name for name in ("cli.py", "completion.py", "__init__.py", "__main__.py")]
    rooms = [path for path in (ROOT / "hybrid_batch").iterdir() if path.is_dir() and path.name != "__pycache__"]
    return tops + [module for room in rooms for module in sorted(room.rglob("*.py"))]


def name_of(module: Path) -> str:
    parts = module.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(module): module for module in modules()}


def imports_of(module: Path) -> Iterator[str]:
    """The product's modules that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in NAMES)
        elif isinstance(node, ast.ImportFrom) and node.module in NAMES:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in inner if name in NAMES)
            if not all(name in NAMES for name in inner):
                yield node.module


IMPORTS = {name: sorted(set(imports_of(module))) for name, module in NAMES.items()}


def floors(package: str) -> dict[str, int]:
    """The floor of each part of a package."""
    return {
        part: floor
        for floor, parts in enumerate(FLOORS[package])
        for part in (parts if isinstance(parts, tuple) else (parts,))
    }


@pytest.mark.parametrize("package", FLOORS)
def test_no_package_imports_one_above_it(package):
    floor = floors(package)

    def part_of(name: str) -> str | None:
        return name.removeprefix(f"{package}.").partition(".")[0] if name.startswith(f"{package}.") else None

    upward = [
        f"{name} imports {found}"
        for name, imported in IMPORTS.items()
        for found in imported
        if (mine := part_of(name)) in floor and (other := part_of(found)) in floor and mine != other
        if floor[other] >= floor[mine]
    ]
    assert not upward


def test_no_circle_of_imports():
    graph = networkx.DiGraph([(name, found) for name, imported in IMPORTS.items() for found in imported])
    circles = [sorted(circle) for circle in networkx.strongly_connected_components(graph) if len(circle) > 1]
    assert not circles


def test_every_floor_exists():
    for package in FLOORS:
        for part in floors(package):
            assert f"{package}.{part}" in NAMES


def test_every_package_says_what_it_holds_in_one_sentence():
    for package in packages():
        docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
        assert docstring, package


def test_no_module_is_too_long():
    long = {name: lines for name, path in NAMES.items() if (lines := len(path.read_text().splitlines())) > 300}
    assert not long


def test_every_folder_can_be_read_at_a_glance():
    full = {
        str(package.relative_to(ROOT)): len(entries)
        for package in packages()
        if len(entries := [entry for entry in package.iterdir() if not entry.name.startswith("__")]) > MOST_ENTRIES
    }
    assert not full


def test_no_class_name_exists_twice():
    places: dict[str, list[str]] = {}
    for name, path in NAMES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert not {name: modules for name, modules in places.items() if len(modules) > 1}
