"""Chips: the Qualcomm SoCs that have an HTP, by the numbers that the plugin knows them by.

Numbers and architectures: section 3 of QNN issue 830 of onnxruntime, checked against what the
simulator of onnxruntime-qnn 2.7.0 takes. Names that it does not know (QCS6490, QCS9075, SC8340XP)
are not here. v68 takes no float16, so its chips are not here either.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chip:
    """One SoC: Qualcomm's number for it, the part, what it is sold as, and its HTP."""

    soc: str
    part: str
    sold_as: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.part} ({self.sold_as}, {self.architecture})"


_CHIPS = (
    Chip("43", "SM8550", "Snapdragon 8 Gen 2", "v73"),
    Chip("57", "SM8650", "Snapdragon 8 Gen 3", "v75"),
    Chip("60", "SC8380XP", "Snapdragon X Elite and X Plus", "v73"),
    Chip("69", "SM8750", "Snapdragon 8 Elite", "v79"),
    Chip("87", "SM8850", "Snapdragon 8 Elite Gen 5", "v81"),
    Chip("88", "SC8480XP", "Snapdragon X2 Elite", "v81"),
)

CHIPS = {chip.soc: chip for chip in _CHIPS}
"""The chips by SoC number."""
