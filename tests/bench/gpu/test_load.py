"""A closed loop of clients, and the rate that is read from it."""

import asyncio

import pytest

from bench.gpu.load import Answers, _rate, closed_loop


async def nothing() -> None:
    return None


async def test_every_client_has_one_request_out_and_sends_its_own_numbers() -> None:
    out: set[int] = set()
    most, sent = 0, []

    async def send(number: int) -> None:
        nonlocal most
        sent.append(number)
        out.add(number)
        most = max(most, len(out))
        await asyncio.sleep(0.002)
        out.remove(number)

    answers = await closed_loop(send, 3, 0.01, 0.1, nothing, nothing)
    assert most == 3
    assert sorted(sent) == list(range(len(sent))) or {number % 3 for number in sent} == {0, 1, 2}
    assert 0 < answers.count <= len(sent) == len(set(sent))
    assert answers.count == len(answers.latencies_ms)
    assert not out, "what is under way is waited for"


async def test_the_window_opens_after_every_client_was_answered() -> None:
    answered: set[int] = set()
    seen: list[set[int]] = []

    async def send(number: int) -> None:
        await asyncio.sleep(0.001 if number % 2 else 0.05)
        answered.add(number % 2)

    async def begin() -> None:
        seen.append(set(answered))

    async def end() -> None:
        seen.append(set(answered))

    await closed_loop(send, 2, 0, 0.01, begin, end)
    assert seen == [{0, 1}, {0, 1}]


async def test_the_window_lasts_until_every_client_has_a_rate() -> None:
    async def send(number: int) -> None:
        await asyncio.sleep(0.001 if number % 2 else 0.05)

    answers = await closed_loop(send, 2, 0, 0.01, nothing, nothing)
    slow = [took for took in answers.latencies_ms if took >= 50]
    assert len(slow) >= 2 and answers.seconds >= 0.05


async def test_a_failing_request_ends_the_load() -> None:
    async def send(number: int) -> None:
        await asyncio.sleep(0.001)
        if number > 4:
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        await asyncio.wait_for(closed_loop(send, 2, 30, 30, nothing, nothing), 5)


def test_the_rate_is_counted_from_answer_to_answer() -> None:
    # Four answers half a second apart, anywhere in a window of two seconds: two a second, and not four in two.
    assert _rate([10.2, 10.7, 11.2, 11.7], 2.0) == pytest.approx(2)
    assert _rate([10.2], 2.0) == 0.5
    assert _rate([], 2.0) == 0


def test_a_window_without_an_answer_has_no_percentiles() -> None:
    assert Answers(0, 0.0, (), 1.0).percentile_ms(50) is None
    assert Answers(3, 1.0, (10.0, 30.0, 20.0), 3.0).percentile_ms(50) == 20
