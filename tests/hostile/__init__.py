"""Everything a stranger can hand to a person who uses this program, and what the program then says.

`python -m tests.hostile --write` meets all of it and writes `docs/hostile-input.md`.
"""
