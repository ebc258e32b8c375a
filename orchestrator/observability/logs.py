"""Log formats of this process: one line a record, text or JSON, with the ids of the request and the task."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from inference.span import current
from orchestrator.access.secret import KEY_PREFIX
from streaming.targets import mask

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
task_id: ContextVar[str | None] = ContextVar("task_id", default=None)

_API_KEY = re.compile(re.escape(KEY_PREFIX) + r"[\w-]+")
_ADDRESS = re.compile(r"\b(?:rtmps?|srt|udp|whips?)://[^\s'\"]+[^\s'\".,:;)]")
# As it stands in a request's path, where slashes may be escaped, or two of them have become one.
_ESCAPED_ADDRESS = re.compile(r"\b(rtmps?|srt|udp|whips?)(?::|%3A)(?:/|%2F){1,2}[^\s'\"/][^\s'\"]*", re.IGNORECASE)
_CHATTY = ("uvicorn.error", "uvicorn", "asyncio")


def log_to_stderr(log_format: str = "text", level: int = logging.INFO) -> None:
    """Log to stderr, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


def without_secrets(text: str) -> str:
    """The text with API keys and stream keys masked, so that a key that is logged by mistake stays secret."""
    text = _ADDRESS.sub(lambda found: mask(found[0]), _API_KEY.sub(f"{KEY_PREFIX}***", text))
    return _ESCAPED_ADDRESS.sub(lambda found: found[0] if "://" in found[0] else f"{found[1]}://***", text)


class TextFormatter(logging.Formatter):
    """For a person at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by the traceback if there is one."""
        ids = [value for value in _ids(record).values() if value not in record.getMessage()]
        return without_secrets(super().format(record)) + "".join(f" [{value}]" for value in ids)


class JsonFormatter(logging.Formatter):
    """For programs: one JSON object a line, with the entries of `fields` in a record's `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, with the traceback in `error` if there is one."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(_masked(line), ensure_ascii=False)


def _masked(value: Any) -> Any:
    """The value with the secrets masked in all strings that it contains, in a form that JSON can hold."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {without_secrets(str(name)): _masked(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_masked(each) for each in value]
    return without_secrets(str(value))


def _ids(record: logging.LogRecord) -> dict[str, str]:
    span = current()
    found = {
        "request_id": request_id.get(),
        "task_id": getattr(record, "task_id", None) or task_id.get(),
        "trace_id": None if span is None else span.trace_id,
    }
    return {name: value for name, value in found.items() if value is not None}
