"""The suite that decides whether a learned controller may go on a machine."""

__version__ = "0.1.0"
