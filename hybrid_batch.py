"""The `hybrid-batch` command: assembles its commands and maps errors to exit codes; nothing else.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""


def main() -> None:
    """Run the command line."""
