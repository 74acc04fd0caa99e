"""Structured logging of components: text or JSON lines through the standard library, in a file that is rotated by size.

A message is constant, variable values are fields: `log.info("Became leader", extra=logs.fields(lease=name))`. A repeated line is written
once a minute, with the number of suppressed ones (`logs.once`). Values are quoted and truncated, control characters escaped and credentials
redacted, so that no caller can forge a line or leave a secret in one. `kapi.cli.logs` follows a log.
"""

import dataclasses
import json
import logging
import os
import re
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from kapi import limits

VERBOSE, DEBUG, REQUESTS = 15, logging.DEBUG, 5
"""Levels below INFO: shown from -v 2, 4 and 6 on."""
_LEVELS = {0: logging.INFO, 2: VERBOSE, 4: DEBUG, 6: REQUESTS}
_VERBOSITY = {level: v for v, level in _LEVELS.items()}
_OURS = ("kapi", "kubelet", "certs")
"""The loggers whose level -v sets. Those of libraries stay at INFO: their debug lines contain bodies and headers."""
_MINUTE = 60.0
_HIDDEN = r"\1[redacted]"
_SECRETS = re.compile(
    r"((?:\b(?:bearer|basic)\s(?=\S{8})|base64url\.bearer\.authorization\.k8s\.io\.|token=|password=|secret=|://[^\s/@:]*:(?=[^\s/]*@)))[^\s\"'&,;@]+",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"()\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?")
_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL)


class Options(Protocol):
    """How much a component logs, and where (kapi.settings.logs)."""

    @property
    def v(self) -> int: ...
    @property
    def log_format(self) -> str: ...
    @property
    def log_file(self) -> str: ...


def fields(**named: Any) -> dict[str, Any]:
    """`extra` of a logging call: the fields of its line."""
    return {"fields": named}


def once(key: object, /, **named: Any) -> dict[str, Any]:
    """The same for a line that is written once a minute for each `key`; the next one has the number of suppressed ones."""
    return {"fields": named, "once": key}


# lines ----------------------------------------------------------------------------------------------------------------------------------


def _clean(text: str, longest: int = limits.LOG_VALUE_CHARS) -> str:
    """The text truncated to `longest` characters, with credentials redacted."""
    text = text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"
    for pattern in (_SECRETS, _TOKEN, _KEY):
        text = pattern.sub(_HIDDEN, text)
    return text


def _printable(text: str) -> str:
    """The text with line breaks and other unprintable characters escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_printable(text)}"'


def _json_value(value: Any) -> Any:
    """A value as JSON: containers item by item, other types as text."""
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, dict):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_value(v) for v in value]
    return _clean(str(value))


def _value(value: Any) -> str:
    plain = _json_value(value)
    return _quoted(plain) if isinstance(plain, str) else _printable(json.dumps(plain, ensure_ascii=False, separators=(",", ":")))


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return _clean("".join(traceback.format_exception(record.exc_info[1])).rstrip("\n"), limits.LOG_TRACE_CHARS)


class Text(logging.Formatter):
    """`2027-01-15T08:00:00.123Z INFO apiserver kapi.apiserver.assembly "Serving" address="10.0.0.1:443"`; a traceback follows, indented."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        level = record.levelname if record.levelno >= logging.INFO else "DEBUG"
        head = f"{stamp}.{int(record.msecs):03d}Z {level} {self._component} {record.name} {_quoted(_clean(record.getMessage()))}"
        named = "".join(f" {name}={_value(value)}" for name, value in getattr(record, "fields", {}).items())
        traced = "".join(f"\n    {_printable(line)}" for line in _trace(record).split("\n") if line)
        return head + named + traced


class Json(logging.Formatter):
    """One object a line: ts (milliseconds, as stock's), level, v, component, logger, msg, and the fields."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": round(record.created * 1000, 3), "level": record.levelname.lower() if record.levelno >= logging.INFO else "debug",
            "v": _VERBOSITY.get(record.levelno, 0), "component": self._component, "logger": record.name,
            "msg": _clean(record.getMessage()),
        }  # fmt: skip
        line |= {name: value for name, value in _json_value(getattr(record, "fields", {})).items() if name not in line}
        if trace := _trace(record):
            line["stacktrace"] = trace
        return json.dumps(line, separators=(",", ":"))


# what is written, and where -------------------------------------------------------------------------------------------------------------


class Repeats:
    """Rate limit of lines: so many a minute of one key, or of one line of source."""

    def __init__(self) -> None:
        self._seen: OrderedDict[object, list[float]] = OrderedDict()

    def suppressed(self, record: logging.LogRecord) -> int | None:
        """How many lines were suppressed since the last one that was written; None when this one is to be suppressed."""
        if record.levelno < logging.INFO:
            return 0
        key: tuple[object, ...] = (record.name, record.lineno)
        most = limits.LOG_LINES_A_MINUTE
        if hasattr(record, "once"):
            key, most = (*key, record.once), 1
        seen = self._seen.setdefault(key, [record.created, 0, 0])
        self._seen.move_to_end(key)
        if len(self._seen) > limits.LOG_KEYS:
            self._seen.popitem(last=False)
        if not 0 <= record.created - seen[0] < _MINUTE:
            seen[0], seen[1] = record.created, 0
        if seen[1] >= most:
            seen[2] += 1
            return None
        seen[1] += 1
        left_out, seen[2] = int(seen[2]), 0
        return left_out


class Output:
    """The descriptor of a log, and its file, if any, which is rotated: beyond its size it becomes FILE.1, FILE.1 becomes FILE.2."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._descriptor = 2 if path is None else _opened(path)
        self._incomplete = False
        """Whether the last line was written only in part."""

    def write(self, line: bytes) -> None:
        """Raises OSError when the line is lost."""
        if self._path and os.fstat(self._descriptor).st_size + len(line) > limits.LOG_FILE_BYTES:
            self._rotate(self._path)
        rest = complete = b"\n" + line if self._incomplete else line
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        finally:
            if len(rest) < len(complete):
                self._incomplete = bool(rest)

    def _rotate(self, path: Path) -> None:
        """Rotate. Standard output and error, if they are the old file, are redirected too: tracebacks of a crash go to the new one."""
        _rotate_files(path)
        before, self._descriptor = self._descriptor, _opened(path)
        old = os.fstat(before)
        for standard in (1, 2):
            if os.path.samestat(os.fstat(standard), old):
                os.dup2(self._descriptor, standard)
        os.close(before)

    def close(self) -> None:
        if self._path:
            os.close(self._descriptor)


def files(path: Path) -> list[Path]:
    """The paths of a log and its rotated files, newest first, whether they exist or not."""
    return [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, limits.LOG_FILES))]


def _rotate_files(path: Path) -> None:
    """FILE becomes FILE.1 and so on. Raises OSError."""
    names = files(path)
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        if newer.exists():
            newer.replace(older)


def rotate_if_large(path: Path) -> None:
    """Rotate a log beyond its size: for a program that does not do it itself, before it is started. Raises OSError."""
    if path.exists() and path.stat().st_size > limits.LOG_FILE_BYTES:
        _rotate_files(path)


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


class Handler(logging.Handler):
    """Writes records to an Output. Lines that could not be written are counted in the field `lost` of the next one."""

    first: Callable[[], None] | None = None
    """Called before the first record, to log the start of the component."""

    def __init__(self, output: Output, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._output, self._repeats, self._lost = output, Repeats(), 0

    def emit(self, record: logging.LogRecord) -> None:
        if self.first:
            first, self.first = self.first, None
            first()
        left_out = self._repeats.suppressed(record)
        if left_out is None:
            return
        counts = {"suppressed": left_out, "lost": self._lost}
        record.fields = {**getattr(record, "fields", {}), **{name: count for name, count in counts.items() if count}}
        try:
            self._output.write(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
            self._lost = 0
        except OSError:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        super().close()
        self._output.close()


# a component's life ---------------------------------------------------------------------------------------------------------------------


class Unusable(Exception):
    """The log cannot be opened; the text is one sentence for the user."""


@dataclass
class Stop:
    """The reason why a component stops, for its last line."""

    reason: str = "finished"


@contextmanager
def component(name: str, settings: Options, version: str) -> Iterator[Stop]:
    """Set up logging by `settings` while the block runs. The first line is "Starting", the last "Stopped" with the reason. Raises Unusable.

    On standard error neither is written without another line: there the caller prints why nothing started.
    """
    root, log = logging.getLogger(), logging.getLogger(f"kapi.{name}" if name != "kubelet" else name)
    try:
        output = Output(Path(settings.log_file) if settings.log_file else None)
    except OSError as why:
        raise Unusable(f"The log {settings.log_file} can't be written: {why.strerror}. Name another with --log-file.") from None
    handler = Handler(output, (Json if settings.log_format == "json" else Text)(name))
    before = {logger: logger.level for logger in (root, *map(logging.getLogger, _OURS))}
    level = [shown for v, shown in _LEVELS.items() if v <= max(0, settings.v)][-1]
    for logger in before:
        logger.setLevel(level if logger is not root else logging.INFO)
    root.addHandler(handler)
    stop = Stop()
    try:
        start = fields(version=version, pid=os.getpid(), python=sys.version.split()[0], settings=changed(settings))
        if settings.log_file:
            log.info("Starting", extra=start)
        else:
            handler.first = partial(log.info, "Starting", extra=start)
        yield stop
        log.info("Stopped", extra=fields(reason=stop.reason))
    except BaseException as why:
        first: BaseException = why
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if handler.first is None:
            log.critical("Stopped", extra=fields(reason=f"{type(first).__name__}: {first}"))
        raise
    finally:
        root.removeHandler(handler)
        handler.close()
        for logger, old in before.items():
            logger.setLevel(old)


def changed(settings: Any) -> dict[str, Any]:
    """The options that differ from their defaults."""
    options = [field for field in dataclasses.fields(settings) if field.metadata.get("option", True)]
    return {field.name: value for field in options if (value := getattr(settings, field.name)) != field.default}
