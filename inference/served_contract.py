"""What the models of a repository expect of their clients, read from the file that the export wrote beside them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from latentsync.contract import CONTRACT, ServedContract, read_contract


class ContractMismatch(RuntimeError):
    """The models were exported for clients of other numbers; the message names them and says what to do."""


def served_contract(model_repository: Path) -> ServedContract | None:
    """The contract and the resolution of a repository's models; None for a repository that was not exported by us.

    Raises ContractMismatch where the contract isn't this program's: such models would load, and fail or draw nonsense
    at each request.
    """
    try:
        served = read_contract(model_repository)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ContractMismatch(str(error)) from None
    ours, theirs = asdict(CONTRACT), asdict(served.contract)
    differing = [f"{name} {theirs[name]} instead of {ours[name]}" for name in ours if ours[name] != theirs[name]]
    if differing:
        raise ContractMismatch(
            f"the models in {model_repository} expect {', '.join(differing)}: run `latentsync-realtime export` again"
        )
    return served
