"""The version this server reports: the one of stock whose behaviour it has."""

import platform
import sys

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
VERSION = {
    "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2", "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-06-09T00:00:00Z",
    "goVersion": f"python{platform.python_version()}", "compiler": sys.implementation.name,
    "platform": f"linux/{_MACHINES.get(platform.machine(), platform.machine())}",
}  # fmt: skip
"""The document of /version."""
_BUILD = {
    "build_date": "buildDate", "compiler": "compiler", "git_commit": "gitCommit", "git_tree_state": "gitTreeState",
    "git_version": "gitVersion", "go_version": "goVersion", "major": "major", "minor": "minor", "platform": "platform",
}  # fmt: skip
BUILD = {label: VERSION[name] for label, name in _BUILD.items()}
"""The labels of kubernetes_build_info."""
