"""Accidents for the real program, and the laws that must hold after each."""
