"""What to do about a test whose service is not installed here: with CI=true it fails, elsewhere it is skipped."""

import os
import shutil
from collections.abc import Mapping

import pytest


def require(packages: Mapping[str, str], what: str) -> None:
    """End the test unless all programs are here.

    Args:
        packages: The Debian package of each program.
        what: What needs them, to begin a sentence with.
    """
    missing = [package for program, package in packages.items() if shutil.which(program) is None]
    if missing:
        give_up(f"{what} need a program that is not here: apt-get install {' '.join(missing)}")


def give_up(reason: str) -> None:
    """Fail with CI=true, where every test must run; skip elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
