"""What of a history is handed on with a question."""

from conversation.message import Message, Role, trimmed

PROMPT = Message(Role.SYSTEM, "You are a guide.")
GREETING = Message(Role.AVATAR, "Hello!")


def turns(count: int) -> list[Message]:
    """Questions and answers of ten characters each, the last question without its answer."""
    said = [Message(Role.AVATAR if n % 2 else Role.PERSON, f"message {n:02}") for n in range(2 * count - 1)]
    assert all(len(message.text) == 10 for message in said)
    return said


def test_history_that_fits_is_handed_on_whole() -> None:
    history = (PROMPT, GREETING, *turns(3))
    assert trimmed(history, 56) == history


def test_oldest_turns_are_left_out_and_the_prompt_stays() -> None:
    history = (PROMPT, GREETING, *turns(4))
    assert trimmed(history, 50) == (PROMPT, *turns(4)[2:])
    assert trimmed(history, 49) == (PROMPT, *turns(4)[4:]), "it begins with the person, and never with half a turn"


def test_last_question_is_handed_on_however_long_it_is() -> None:
    question = Message(Role.PERSON, "why " * 100)
    assert trimmed((PROMPT, *turns(2), Message(Role.AVATAR, "So."), question), 50) == (PROMPT, question)
    assert trimmed((), 50) == ()
