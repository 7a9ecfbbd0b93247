"""Cloud commands refuse what is missing, region, credentials or a confirmation, before they import or package."""

import os
import subprocess
import sys

import pytest

from tests.scripted_server import ScriptedServer, reply

# The child fails if it packages or measures.
SCRIPT = """
import sys
from hybrid_batch.cli import main
from hybrid_batch.inference.cloud import estimate
from hybrid_batch.inference.cloud.packaging import package
from hybrid_batch.inference.model.importing import resolve_model
def work(*_, **__):
    raise AssertionError("work before the check")
package.build_package = estimate.measure_core_us = resolve_model.resolve_model = work
sys.exit(main())
"""
IDENTITY = reply(
    403,
    b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>The token is invalid.</Message></Error>"
    b"</ErrorResponse>",
    "Content-Type: text/xml\r\n",
)


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command without AWS settings but `settings`, and without a terminal."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    isolated = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=own | isolated | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("deploy", "digits"), ("destroy", "hybrid-batch-digits")])
def test_without_a_terminal_and_yes_nothing_is_begun(arguments: tuple[str, ...]) -> None:
    done = run("cloud", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "hybrid-batch: Cannot ask for confirmation because stdin is not a terminal; pass --yes or use --dry-run.\n"
    )


@pytest.mark.parametrize("flag", ["--yes", "--dry-run"])
@pytest.mark.parametrize("arguments", [("deploy", "digits"), ("destroy", "hybrid-batch-digits")])
def test_a_missing_region_is_reported_first(arguments: tuple[str, ...], flag: str) -> None:
    done = run("cloud", *arguments, flag)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "You must specify a region; set AWS_REGION" in line


@pytest.mark.parametrize("flag", ["--yes", "--dry-run"])
def test_missing_credentials_are_reported_first(flag: str) -> None:
    done = run("cloud", "deploy", "digits", flag, AWS_REGION="eu-west-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "hybrid-batch: AWS credentials are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.\n"
    )


def test_wrong_credentials_are_reported_first() -> None:
    script = ScriptedServer(IDENTITY)
    keys = {"AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong"}
    done = run("cloud", "deploy", "--yes", AWS_REGION="eu-west-1", AWS_ENDPOINT_URL=script.url, **keys)
    assert (done.returncode, done.stdout) == (1, "")
    assert "AWS does not accept the AWS credentials (InvalidClientTokenId); renew or correct them." in done.stderr
    assert len(script.requests) == 1
