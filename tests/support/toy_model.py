"""A model repository of one small model, for tests of the server that loads it."""

from pathlib import Path

WORKING_MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return []
"""
_CONFIG = """
backend: "python"
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""


def write_model(repository: Path, source: str) -> Path:
    """Writes the model `toy` with this source; returns the repository."""
    version = repository / "toy" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(source)
    (repository / "toy" / "config.pbtxt").write_text(_CONFIG)
    return repository
