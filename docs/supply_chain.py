"""What is locked: `make sbom` writes a CycloneDX SBOM and a list of licences, `make audit` looks up advisories.

python docs/supply_chain.py sbom LOCK FOLDER
python docs/supply_chain.py audit LOCK
"""

import csv
import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

SBOM, LICENCES = "hybrid-batch.cdx.json", "licences.csv"
ROOT_REFERENCE = "hybrid-batch"
_TOOLS = Path(sys.executable).parent
_REQUIREMENT = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.IGNORECASE)
_VIA = re.compile(r"^    #(?: via)?\s+([a-z0-9._-]+)", re.IGNORECASE)
_LONGEST_NAME = 80  # some distributions give the whole text as the name of the licence
_TIMEOUT_S = 900


def write_sbom(lock: Path, folder: Path) -> int:
    """Write the SBOM of the lock file and the licences; return the number of packages. Raises SystemExit if the SBOM
    violates the schema of CycloneDX."""
    folder.mkdir(parents=True, exist_ok=True)
    made = _run("cyclonedx-py", "requirements", lock, "--output-reproducible", "--of", "JSON", "-o", "-")
    document: dict[str, Any] = json.loads(made.stdout)
    requirers = read_requirers(lock)
    for component in document["components"]:
        component["bom-ref"] = component["purl"]
        component.pop("description", None)
        component["licenses"] = [{"license": {"name": licence_of(component["name"])}}]
    references = {normal(component["name"]): component["purl"] for component in document["components"]}
    document["metadata"]["component"] = {"type": "application", "name": ROOT_REFERENCE, "bom-ref": ROOT_REFERENCE}
    document["dependencies"] = [
        {"ref": reference, "dependsOn": sorted(references[name] for name in references if owner in requirers[name])}
        for owner, reference in ((ROOT_REFERENCE, ROOT_REFERENCE), *sorted(references.items()))
    ]
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    validate(text)
    (folder / SBOM).write_text(text, encoding="utf-8")
    with (folder / LICENCES).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("package", "version", "licence"))
        for component in sorted(document["components"], key=lambda one: normal(one["name"])):
            rows.writerow((component["name"], component["version"], component["licenses"][0]["license"]["name"]))
    return len(document["components"])


def validate(text: str) -> None:
    """Raise SystemExit if a document violates the strict schema of CycloneDX 1.6, or names an unknown reference."""
    document = json.loads(text)
    known = {component["bom-ref"] for component in document["components"]}
    named = {reference for entry in document["dependencies"] for reference in entry["dependsOn"]}
    if lost := named - known:
        sys.exit(f"The SBOM names {sorted(lost)[0]} as a dependency and has no such component.")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"The SBOM is not valid CycloneDX: {problem}")


def read_requirers(lock: Path) -> dict[str, set[str]]:
    """The packages that require each package, from the comments of uv; the project itself has the name of the root."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if match := _REQUIREMENT.match(line):
            name = normal(match[1])
            found[name] = set()
        elif name and (match := _VIA.match(line)):
            found[name].add(normal(match[1]))
    return found


def licence_of(package: str) -> str:
    """The licence that the metadata of an installed package names; packages of other systems are not installed."""
    try:
        found = metadata(package)
    except PackageNotFoundError:
        return "unknown: not installed on this system"
    if expression := found.get("License-Expression"):
        return str(expression)
    classifiers = [line.removeprefix("License :: ") for line in found.get_all("Classifier") or ()]
    names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("OSI Approved :: ")]
    text = (found.get("License") or "").strip().splitlines()
    if not names and text and text[0] != "UNKNOWN" and len(text[0]) <= _LONGEST_NAME:
        return text[0]
    return " AND ".join(names) or "unknown: its metadata names none"


def normal(name: str) -> str:
    """The normal form of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def audit(lock: Path) -> str:
    """Look up the advisories of all locked packages, and return a sentence. Raises SystemExit with a sentence if there
    are advisories, or if the service did not answer for every package."""
    done = _run("pip-audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", "-r", lock)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        sys.exit(f"No package was audited, because the service of advisories cannot be reached: {reason[:300]}")
    return summarise(packages)


def summarise(packages: list[dict[str, Any]]) -> str:
    """The result of an audit as a sentence. Raises SystemExit unless all packages were audited without an advisory."""
    skipped = [package for package in packages if "skip_reason" in package]
    affected = [package for package in packages if package.get("vulns")]
    for package in affected:
        ids = ", ".join(advisory["id"] for advisory in package["vulns"])
        sys.stderr.write(f"{package['name']} {package['version']}: {ids}\n")
    if skipped:
        sys.exit(
            f"{len(skipped)} of {len(packages)} packages were not audited, because the service of advisories does not "
            f"know them or cannot be reached (first: {skipped[0]['skip_reason'][:200]}); {len(affected)} of the others "
            "have advisories."
        )
    if affected:
        sys.exit(f"{len(affected)} of {len(packages)} packages have advisories.")
    return f"{len(packages)} packages were audited; none has an advisory."


def _run(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [_TOOLS / program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )


if __name__ == "__main__":
    task, lock_file, *rest = sys.argv[1:]
    if task == "audit":
        sys.stdout.write(audit(Path(lock_file)) + "\n")
    else:
        count = write_sbom(Path(lock_file), Path(rest[0]))
        sys.stdout.write(f"{rest[0]}/{SBOM} and {rest[0]}/{LICENCES}: {count} packages\n")
