"""`python -m chatd` is the same as `chatd`."""

from chatd.cli import main

main(prog_name="chatd")
