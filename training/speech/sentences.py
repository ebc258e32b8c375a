"""Sentences to synthesise: patterns filled from word lists, and random words chosen for rare pairs of phones."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Lexicon = Mapping[str, Sequence[str]]
"""Word → its phones without stress, most common words first."""

WORDS = {
    "adj": "old big happy quiet bright warm cold blue yellow heavy broken smooth funny early modern famous hungry "
    "careful strange perfect simple narrow golden empty public fresh brave purple soft wooden vague proper humble "
    "sharp fragile remote massive bitter clever enormous obvious pale rough shiny thick",
    "noun": "river window garden teacher market bottle fish village machine picture mother father baby apple button "
    "police boat bridge summer winter coffee moment paper bubble voice football music problem farmer pilot family "
    "book movie robot weather number valley shop poem camera pepper thumb lamp envelope butterfly elephant uniform "
    "sofa hammer pump museum bishop vehicle method zebra wolf tooth judge treasure jacket kitchen rhythm onion",
    "past": "opened carried painted found bought moved followed helped wanted finished pushed pulled measured "
    "remembered watched covered changed shared believed improved built fixed borrowed shaped wrapped imagined "
    "photographed polished enjoyed chased threw judged questioned warmed",
    "verb": "make buy give show bring move follow use share save play improve forget believe choose wipe weigh "
    "vote join fetch jump promise admire combine prove wave whisper measure",
    "prep": "near behind above before after without around beside under over through beneath toward against between",
    "place": "boston paris london brazil africa vermont chicago moscow berlin korea virginia mumbai wyoming havana "
    "japan geneva memphis portugal",
    "name": "mary bob peter fiona victor wendy george thomas amy paul vivian philip judy zoe hugo emma joy ruth "
    "maggie oliver beth martin shirley walter yvonne",
    "adv": "slowly quickly maybe often today tomorrow tonight finally probably again together perhaps very soon "
    "almost never usually beautifully abruptly smoothly",
    "num": "one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty "
    "fifty sixty seventy eighty ninety hundred thousand million",
    "short": "yes|no|maybe|of course|thank you|good morning|how are you|not at all|i see|wow|my pleasure|why not|"
    "bye for now|what a view|oh my|perfect|absolutely|sure|please wait|happy birthday|come in|five past four|"
    "never mind|welcome back|pardon me|whose move is it|enough|both of us|you and me|up above",
    "lips": "map|pub|bump|problem|pebble|amber|member|pump|bomb|maple|people|pepper|bubble|number|september|umbrella|"
    "compass|bamboo|puppy|mop|bib|palm|plumber|probably|impossible|combine|vibe|five|proof|believe|movement|favor|"
    "above|fifty|beef|puff|wave|vivid|woman|wipe|worm|whip|swamp|overview|february|mumble|imply",
}
PATTERNS = (
    "the {adj} {noun} {past} the {noun} {prep} the {adj} {noun}",
    "please {verb} me the {adj} {noun} {prep} the {noun}",
    "we {past} {num} {adj} {noun}s {prep} {place} {adv}",
    "why would you {verb} my {noun} {prep} the {noun}?",
    "i think they should {verb} the {noun} {adv}",
    "both of them {past} a {adj} {noun} from {place}",
    "where is the {noun} that she {past} {prep} the {adj} {noun}?",
    "hello and welcome to the {adj} {noun} {prep} {place}",
    "my {noun} and your {noun} were {adj}, but {adj}",
    "you can {verb} a {noun}, or {verb} the {adj} {noun} {adv}",
    "what a {adj} {noun} this was",
    "how far is {place} from the {noun} of {name}?",
    "oh no, the {adj} {noun} fell {prep} the {noun}",
    "{name} and {name} {past} {num} {noun}s, {num} {noun}s and a {adj} {noun}",
    "did {name} {verb} the {noun} {adv}, or was it {name}?",
    "{num}, {num}, {num}, {num}, {num}",
    "the number is {num} {num} {num} {num} {num} {num}",
    "at {num} past {num}, {name} {past} a {noun}",
    "{short}, {short}",
    "{short}",
    "{short}, {name}",
    "{lips} {lips} {lips} {lips} {lips}",
    "a {lips} of {lips} and a {lips} of {lips}",
    "{name}'s {lips} {noun} {past} a {lips} {adv}",
    "if {name} {past} it {adv}, we will {verb} it {prep} {place}",
    "this is {name} from {place}, and today we {verb} a {adj} {noun}",
    "it was {adj}, {adj} and {adj}",
    "do you {verb} {noun}s or {noun}s?",
)
RANDOM_VOCABULARY_SIZES = (1500, 7000)
"""The numbers of most common words from which random words are drawn; synthesisers mispronounce rare words."""
TWISTERS = (
    "peter piper picked a peck of pickled peppers",
    "she sells sea shells by the sea shore",
    "betty bought a bit of better butter",
    "how much wood would a woodchuck chuck",
    "five frantic frogs fled from fifty fierce fishes",
    "which witch wished which wicked wish",
    "the quick brown fox jumps over the lazy dog",
    "pack my box with five dozen liquor jugs",
    "we promptly judged antique ivory buckles for the next prize",
    "how vexingly quick daft zebras jump",
    "red lorry yellow lorry",
    "a proper copper coffee pot",
    "very well, very well, very well",
    "fuzzy wuzzy was a bear",
    "i thought a thought but the thought i thought was not the thought",
    "rubber baby buggy bumpers",
    "whether the weather be warm or whether the weather be cold",
    "mama made me mash my mangoes",
    "papa poured a proper cup of pure water",
    "big black bugs bit a big black bear",
)


@dataclass(frozen=True)
class Sentence:
    """A text in phrases, each with its final punctuation mark; the speaker pauses between phrases."""

    phrases: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.phrases)


def spoken_words(text: str) -> list[str]:
    """The words of `text` in lower case, without punctuation other than apostrophes."""
    return "".join(c if c.isalpha() or c == "'" else " " for c in text.lower()).split()


class SentenceMaker:
    """Generates sentences without repetition, none of them in `forbidden`, with all words in `lexicon`."""

    def __init__(self, lexicon: Lexicon, seed: int, forbidden: Sequence[str] = ()) -> None:
        self._lexicon = lexicon
        self._vocabulary = list(lexicon)
        self._random = random.Random(seed)
        self._used = {tuple(spoken_words(text)) for text in forbidden}
        self._pair_counts: dict[tuple[str, str], int] = {}
        self._lists = {
            kind: [entry for entry in words.split("|" if "|" in words else None) if self._known(entry)]
            for kind, words in WORDS.items()
        }
        self._twisters = [text for text in TWISTERS if self._known(text)]

    def __call__(self) -> Sentence:
        while True:
            draw = self._random.random()
            if draw < 0.30:
                text = self._random_words()
            elif draw < 0.36:
                text = self._random.choice(self._twisters)
            else:
                text = self._filled_pattern(self._random.choice(PATTERNS))
            words = tuple(spoken_words(text))
            if words not in self._used and all(word in self._lexicon for word in words):
                break
        self._used.add(words)
        for pair in self._pairs(words):
            self._pair_counts[pair] = self._pair_counts.get(pair, 0) + 1
        return Sentence(self._phrases(text))

    def _known(self, text: str) -> bool:
        return all(word in self._lexicon for word in spoken_words(text))

    def _filled_pattern(self, pattern: str) -> str:
        head, *rest = pattern.split("{")
        for part in rest:
            kind, tail = part.split("}")
            head += self._random.choice(self._lists[kind]) + tail
        return head

    def _random_words(self) -> str:
        """Words chosen one by one: of 40 candidates the one with the rarest pairs of phones."""
        words: list[str] = []
        for _ in range(self._random.randint(4, 9)):
            candidates = self._random.choices(self._vocabulary[: self._random.choice(RANDOM_VOCABULARY_SIZES)], k=40)
            words.append(max(candidates, key=lambda word: self._rarity([*words[-1:], word])))
        comma = self._random.randint(2, len(words) - 1)
        return " ".join(words[:comma]) + self._random.choice([", ", " "]) + " ".join(words[comma:])

    def _rarity(self, words: Sequence[str]) -> float:
        pairs = self._pairs(words)
        return sum(1 / (1 + self._pair_counts.get(pair, 0)) for pair in pairs) / max(6, len(pairs))

    def _pairs(self, words: Sequence[str]) -> list[tuple[str, str]]:
        phones = [phone for word in words for phone in self._lexicon[word]]
        return list(itertools.pairwise(phones))

    def _phrases(self, text: str) -> tuple[str, ...]:
        """Split at a random half of the commas, and always after a phrase of one word; the speaker pauses there."""
        end = "?" if text.endswith("?") else "."
        parts = [part.strip() for part in text.rstrip("?").split(",")]
        phrases = [parts[0]]
        for part in parts[1:]:
            if self._random.random() < 0.5 or len(spoken_words(phrases[-1])) < 2:
                phrases.append(part)
            else:
                phrases[-1] += ", " + part
        return (*(phrase + "," for phrase in phrases[:-1]), phrases[-1] + end)
