"""The secret between the orchestrator and Triton: a file that both read."""

from __future__ import annotations

from inference.secret import checked_secret, new_secret
from inference.transport import TritonSettings
from orchestrator.private_file import create_private
from orchestrator.settings import Settings, SettingsError


def own_secret(settings: Settings) -> str:
    """The secret of a Triton that runs beside this process; the file is made where there is none.

    `serve` and `triton` may start in either order: the first one makes it. Raises SettingsError.
    """
    path = settings.triton_secret_path
    try:
        if not path.exists():
            create_private(path, new_secret() + "\n")
        return checked_secret(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"triton_secret_file={path}: {error}") from None


def triton_settings(settings: Settings) -> TritonSettings:
    """How to reach the Triton of these settings; raises SettingsError.

    A Triton elsewhere, of `triton_url`, gets the secret only where there is a file of it.
    """
    here = settings.triton_url is None
    needed = here or settings.triton_secret_file is not None or settings.triton_secret_path.exists()
    return TritonSettings(url=settings.triton_grpc_url, secret=own_secret(settings) if needed else None)
