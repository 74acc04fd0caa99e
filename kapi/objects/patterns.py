"""Regular expressions of Go (RE2), which run in linear time."""

from typing import Any

from kapi.objects.caching import kept

_GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}
"""The library's error messages -> those of Go's parser."""


@kept(256)
def compiled(text: str) -> Any:
    """The compiled pattern, with search and finditer. Raises ValueError with Go's message."""
    import re2  # 2 MB: only servers that are given a pattern load it

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        what = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        problem, _, where = what.partition(": ")
        raise ValueError(f"error parsing regexp: {_GO_WORDS.get(problem, problem)}: `{where}`") from None
