"""Faults of a machine and of its users, one by one: the message, the processes left running, what is lost, and how to continue.

`python -m tests.faults` prints the matrix. `harness` is what a row works with; the rows are in `starting`, `files` and `running`.
"""

import pytest

pytest.register_assert_rewrite(*(f"tests.faults.{name}" for name in ("harness", "files", "running", "starting")))
