"""What a component logs: lines of text or JSON by the standard library's logging, in a file that is rotated by its size.

A message is constant, what varies are fields: `log.info("Became leader", extra=logs.fields(lease=name))`. A line that comes again and
again is written once a minute and counted meanwhile (`logs.once`). Values are quoted and cut, control characters escaped and what looks
like a credential left out, so no caller can forge a line or leave a secret in one. Following a log is `kapi.cli.logs`'.
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
"""The loggers that -v is about. Those of libraries say nothing below INFO: what they trace holds bodies and headers."""
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
    """The same for a line that is written once a minute for each `key`; the next one says how many were not."""
    return {"fields": named, "once": key}


# lines ----------------------------------------------------------------------------------------------------------------------------------


def _clean(text: str, longest: int = limits.LOG_VALUE_CHARS) -> str:
    """Cut to a bearable length, and without credentials."""
    text = text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"
    for pattern in (_SECRETS, _TOKEN, _KEY):
        text = pattern.sub(_HIDDEN, text)
    return text


def _printable(text: str) -> str:
    """With an escape in place of every character that would not stay in its line or could not be seen."""
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_printable(text)}"'


def _json_value(value: Any) -> Any:
    """A value as JSON has it: containers by their parts, everything that is no JSON by its text."""
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
    """Counts lines of one key, or of one place in the source, and lets so many a minute through."""

    def __init__(self) -> None:
        self._seen: OrderedDict[object, list[float]] = OrderedDict()

    def suppressed(self, record: logging.LogRecord) -> int | None:
        """How many were left out since the last that was let through; None when this one is to be left out."""
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
    """A descriptor lines are appended to, and the file behind it, if any: beyond its size it becomes FILE.1, FILE.1 becomes FILE.2."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._descriptor = 2 if path is None else _opened(path)
        self._incomplete = False
        """A line was begun and could not be finished."""

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
        """Begin a new file. Standard output and error follow if they went to the old one, and with them what Python says of a crash."""
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
    """A log and what it was rotated into, newest first; whether they are there or not."""
    return [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, limits.LOG_FILES))]


def _rotate_files(path: Path) -> None:
    """FILE becomes FILE.1 and so on. Raises OSError."""
    names = files(path)
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        if newer.exists():
            newer.replace(older)


def rotate_if_large(path: Path) -> None:
    """Rotate the log of a program that does not do it itself, before it is started. Raises OSError."""
    if path.exists() and path.stat().st_size > limits.LOG_FILE_BYTES:
        _rotate_files(path)


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


class Handler(logging.Handler):
    """Writes records to an Output. A line that could not be written is counted, and the next one that can says so."""

    first: Callable[[], None] | None = None
    """Logs a line that goes before the next one."""

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
    """The log cannot be written; the text says so in one sentence."""


@dataclass
class Stop:
    """Why a component stops, for its last line."""

    reason: str = "finished"


@contextmanager
def component(name: str, settings: Options, version: str) -> Iterator[Stop]:
    """Log as its settings say while the block runs; its first line says what started, its last why it stopped. Raises Unusable.

    Standard error gets neither when there is nothing else to log: whoever catches what is raised says in one sentence why nothing started.
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
