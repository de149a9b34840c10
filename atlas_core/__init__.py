"""The engine of Atlas Studio: everything but the window."""

__version__ = "0.1.0"
