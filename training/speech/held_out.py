"""Texts for measuring only; `|` is a pause. They don't come from the patterns that training texts are made of."""

from training.speech.sentences import Sentence

TEXTS = (
    "Tomorrow morning the boat will probably leave from the harbor before breakfast.",
    "My brother put a lamp above the piano,| but nobody moved it.",
    "Have you ever seen a bumble bee on a purple flower?",
    "Welcome everybody,| and thank you for being with us this evening.",
    "Simple problems may become impossible if people keep them private.",
    "The museum opens in February,| and the first fifty visitors pay nothing.",
    "Would you mind opening the window?| My room is far too warm.",
    "Every summer we paddled up the river to pick wild berries.",
    "He wrapped the package in brown paper and mailed it to Memphis.",
    "I believe five of the seven maps were wrong,| maybe even six.",
    "A famous baker from Vermont gave me the recipe for this apple pie.",
    "Keep calm,| breathe deeply,| and imagine an empty beach.",
    "The mayor shook hands with the captain of the football team.",
    "Pamela is waiting below the bridge with a blue umbrella.",
    "What beautiful weather we have had since September!",
    "Bob climbed the pyramid while his mother took photographs.",
    "Please tell me when the bus to the village will arrive.",
    "Both computers stopped,| so the company employed a new programmer.",
    "Oh,| how lovely it looks! You must be very proud of your home.",
    "A moment of silence,| please,| and then we will begin the ceremony.",
    "Her poem about the moon made the whole family smile.",
    "They promised to repair the pump by the beginning of November.",
    "Few of my members have ever missed a meeting.",
    "The shepherd whistled,| and his dog jumped over the fence.",
    "Put the butter, the pepper and the ham beside the bread.",
    "We observed the comet from a farm above the valley.",
)


def held_out_sentences() -> list[Sentence]:
    """All of `TEXTS` in their order."""
    return [Sentence(tuple(part.strip() for part in text.split("|"))) for text in TEXTS]
