"""Runs the `tbscreen` command: `python -m tbscreen`."""

from tbscreen.cli import main

main()
