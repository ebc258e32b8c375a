"""How many pictures may be inside of an encoder, which no interrupt can reach there."""

import threading

from streaming.in_flight import InFlight


def entered(bound: InFlight, count: int) -> tuple[list[int], threading.Thread]:
    """Numbers of the pictures that were let in so far, by a writer that goes on."""
    inside: list[int] = []

    def write() -> None:
        for number in range(count):
            bound.enter()
            inside.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    return inside, writer


def test_a_writer_waits_for_pictures_to_come_out() -> None:
    bound = InFlight()
    inside, writer = entered(bound, 5)
    writer.join(0.3)
    assert inside == [0, 1, 2]
    for _ in range(2):
        bound.leave()
    writer.join(5)
    assert inside == [0, 1, 2, 3, 4]


def test_a_writer_waits_no_longer_when_the_encoder_is_gone() -> None:
    bound = InFlight()
    inside, writer = entered(bound, 50)
    bound.close()
    writer.join(0.9)  # less than the patience with one picture
    assert len(inside) == 50


def test_an_encoder_that_needs_more_pictures_before_it_begins_gets_them() -> None:
    inside, writer = entered(InFlight(), 4)
    writer.join(5)
    assert len(inside) == 4
