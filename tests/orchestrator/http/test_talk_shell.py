"""The shell of /talk that a phone keeps: without one of its modules the page stays white when there is no network."""

import re
from pathlib import Path, PurePosixPath

from orchestrator.http.page_routes import FOLDER

IMPORT = re.compile(r'^import .* from "(.+)";$', re.MULTILINE)


def imported(module: str, found: set[str]) -> set[str]:
    """All modules that one needs, by their addresses."""
    if module not in found:
        found.add(module)
        text = (FOLDER / module.removeprefix("/page/")).read_text()
        for name in IMPORT.findall(text):
            target = Path("/", *PurePosixPath(module).parent.parts[1:], name)
            imported(re.sub(r"/[^/]+/\.\./", "/", str(target)), found)
    return found


def test_worker_keeps_every_module_of_the_page() -> None:
    text = (FOLDER / "talk" / "worker.js").read_text()
    kept = set(re.findall(r'"(/page/[^"]+)"', text))
    kept |= {f"/page/talk/{name}" for name in re.findall(r'"([^"/]+\.js)"', text)}
    needed = imported("/page/talk/main.js", set())
    assert needed <= kept
    assert len(needed) > 10
