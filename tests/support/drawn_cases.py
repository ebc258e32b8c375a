"""Requests drawn from the API's own description, with the answers checked against it."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from orchestrator.http.app import ROUTES
from orchestrator.http.openapi import described

ENDLESS = ("/v1/events", "/v1/channels/{channel_id}/preview.mp4")


def no_fault(context: Any, answer: Any, case: schemathesis.Case[Any]) -> bool | None:
    """No 5xx but 503, which says in plain words what this server hasn't got, as a synthesiser."""
    return None if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE else not_a_server_error(context, answer, case)


CHECKS = [no_fault, status_code_conformance, response_schema_conformance]


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def sdp(context: Any, value: Any) -> bytes:
    """What is drawn for a body of WHEP, which has no schema, as text."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def ask_everything(
    url: str,
    examples: int,
    headers: dict[str, str],
    answered: Callable[[str, float], None],
) -> tuple[int, list[str]]:
    """Sends drawn requests to every operation that ends; returns how many were sent, and what was wrong."""
    bounded = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    wrong = []
    schema = schemathesis.openapi.from_dict(described(ROUTES))
    sent = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), f"not an operation: {result}"
        operation = result.ok()
        if operation.path in ENDLESS:
            continue

        @bounded
        @hypothesis.given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            nonlocal sent
            sent += 1
            answer = case.call(base_url=url, timeout=30, headers=headers)
            answered(str(answer.status_code), answer.elapsed)
            try:
                case.validate_response(answer, checks=CHECKS)
            except FailureGroup as failures:
                failures.add_note(f"{answer.status_code} {answer.text[:500]} for {ascii(case.body)[:500]}")
                raise

        try:
            ask()
        except FailureGroup as failures:
            told = " ".join(failures.__notes__)
            wrong += [f"{operation.label}: {failure}: {told}" for failure in failures.exceptions]
    return sent, wrong
