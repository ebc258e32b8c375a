"""What is wanted of our checkpoints, and whether measures reach it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GroupMeasures:
    """Measures of one group of held-out clips: means over clips, rates over all m, b, p, medians over all frames."""

    name: str
    clips: int
    r: float
    worst_r: float
    worst_lag: int
    amplitude: float
    closed: float
    closed_of: int
    closed_in_truth: float
    silence: float
    worst_silence: float
    silence_in_truth: float
    psnr_db: float
    psnr_of_idle_db: float
    mouth_db: float
    mouth_of_idle_db: float
    rest_db: float
    seam: float
    chin_seam: float
    flicker: float
    flicker_in_truth: float
    flicker_against_truth: float
    r_other_sound: float
    r_other_sound_to_its_own_truth: float
    r_of_truth_to_jaw: float


@dataclass(frozen=True)
class Target:
    """Bounds of a measure, for the named groups; an empty `groups` means every group."""

    measure: str
    least: float | None
    most: float | None
    groups: tuple[str, ...] = ()


ALL = "all"
DEMO = (
    Target("r", 0.92, None, ("known voices",)),
    Target("r", 0.88, None, ("unseen voice", "unseen synthesiser")),
    Target("worst_lag", -1, 1),
    Target("r_other_sound", None, 0.3),
    Target("amplitude", 0.85, 1.15),
    Target("closed", 0.95, None),
    Target("worst_silence", None, 0.1),
    Target("psnr_db", 31, None, ("known voices",)),
    Target("seam", None, 1.1),
    Target("chin_seam", None, 1.1),
    Target("flicker", None, 1.2, (ALL,)),  # one group alone has too few chunk borders for a median
    # Flicker also depends on how much the speech moves at the borders; dividing by that of the truth removes it.
    Target("flicker_against_truth", None, 1.2, (ALL,)),
)
STARTER = (
    Target("r", 0.85, None, (ALL,)),
    Target("worst_lag", -1, 1),
    Target("r_other_sound", None, 0.3),
    Target("closed", 0.9, None),
    Target("mouth_db", 28, None, (ALL,)),
    Target("rest_db", 30, None, (ALL,)),
    Target("seam", None, 1.1),
    Target("chin_seam", None, 1.1),
)
TARGETS = {"demo": DEMO, "starter": STARTER}
"""By the name of the checkpoint's folder."""
ROWS = (
    ("r", "opening against truth, r", ".3f"),
    ("worst_r", "  worst clip", ".3f"),
    ("worst_lag", "worst lag of the peak, frames", "+d"),
    ("amplitude", "amplitude against truth", ".0%"),
    ("closed", "m, b, p closed", ".1%"),
    ("closed_of", "  of", "d"),
    ("closed_in_truth", "  in the truth", ".1%"),
    ("silence", "opening in silence / widest", ".1%"),
    ("worst_silence", "  worst clip", ".1%"),
    ("silence_in_truth", "  in the truth", ".1%"),
    ("psnr_db", "PSNR in the mask, dB", ".1f"),
    ("psnr_of_idle_db", "  of the idle frame", ".1f"),
    ("mouth_db", "PSNR at the mouth, dB", ".1f"),
    ("mouth_of_idle_db", "  of the idle frame", ".1f"),
    ("rest_db", "in silence against the idle frame, mask, dB", ".1f"),
    ("seam", "steepness at the mask's edge / truth", ".3f"),
    ("chin_seam", "  at the chin", ".3f"),
    ("flicker", "step at chunk borders / elsewhere", ".3f"),
    ("flicker_in_truth", "  in the truth", ".3f"),
    ("flicker_against_truth", "  over that of the truth", ".3f"),
    ("r_other_sound", "another clip's sound, r", ".3f"),
    ("r_other_sound_to_its_own_truth", "  to that clip's truth", ".3f"),
    ("r_of_truth_to_jaw", "landmarks of the truth to jawOpen, r", ".3f"),
)


@dataclass(frozen=True)
class Verdict:
    """One target applied to one group."""

    group: str
    measure: str
    value: float
    least: float | None
    most: float | None
    reached: bool


def verdicts(groups: Sequence[GroupMeasures], targets: Sequence[Target]) -> list[Verdict]:
    """Every target applied to each of its groups; a measure that is nan doesn't reach its target."""
    return [
        Verdict(group.name, target.measure, value, target.least, target.most, _within(value, target))
        for target in targets
        for group in groups
        if not target.groups or group.name in target.groups
        for value in [float(getattr(group, target.measure))]
    ]


def _within(value: float, target: Target) -> bool:
    at_least = target.least is None or value >= target.least
    at_most = target.most is None or value <= target.most
    return at_least and at_most and value == value  # nan differs from itself


def table(groups: Sequence[GroupMeasures], checks: Sequence[Verdict]) -> str:
    """A Markdown table with a column for each group; values that miss their target are bold."""
    missed = {(check.group, check.measure) for check in checks if not check.reached}
    heads = ["", *(f"{group.name} ({group.clips})" for group in groups)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for measure, title, form in ROWS:
        cells = []
        for group in groups:
            cell = format(getattr(group, measure), form)
            cells.append(f"**{cell}**" if (group.name, measure) in missed else cell)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines.append(f"\n{sum(check.reached for check in checks)} of {len(checks)} targets reached.")
    return "\n".join(lines)
