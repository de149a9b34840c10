"""The command `atlas`."""

from atlas_core.cli.app import main

__all__ = ["main"]
