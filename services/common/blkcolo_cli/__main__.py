"""Runs the command: python -m blkcolo_cli."""

from blkcolo_cli.main import main

main()
