"""FetchProgress: how far the fetching of a model has come.

A value for whoever shows it; nothing here is measured.
"""

from dataclasses import dataclass
from typing import Literal

Stage = Literal["waiting", "download", "verify", "convert", "ready"]


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """One step of `fetcher.fetch`. Sent at least a few times a second while it downloads."""

    model_id: str
    stage: Stage
    """"waiting" while another process fetches the same model."""
    file: str = ""
    """The file or wheel under way; empty where it is the model as a whole."""
    done_bytes: int = 0
    total_bytes: int = 0
    """0 where it is not known."""

    def __str__(self) -> str:
        """For logs and progress messages: "download model.onnx of bge-small-en-v1.5, 42 %"."""
        what = f"{self.file} of {self.model_id}" if self.file else self.model_id
        share = f", {100 * self.done_bytes // self.total_bytes} %" if self.total_bytes else ""
        return f"{self.stage} {what}{share}"
