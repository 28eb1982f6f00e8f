"""How a command ends that cannot be done: one line, and an exit code that says whose fault it is."""

import pytest

from chatd.commands.failing import exit_on
from chatd.config import ConfigError


@pytest.mark.parametrize(("failure", "code"), [(ConfigError("limits: wrong"), 2), (OSError("no such folder"), 1)])
def test_a_failure_is_one_line_and_an_exit_code(
    failure: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, exit_on(OSError):
        raise failure
    assert ended.value.code == code
    assert capsys.readouterr() == ("", f"chatd: {failure}\n")


def test_what_is_not_named_goes_on() -> None:
    with pytest.raises(KeyError), exit_on(OSError):
        raise KeyError


def test_what_succeeds_just_goes_on() -> None:
    with exit_on(OSError):
        done = True
    assert done
