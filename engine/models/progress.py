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
