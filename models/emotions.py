"""The eight expression labels, in the one order used everywhere, and the maps from data sets'
labels.

Order and names are FER+'s (Barsoum et al. 2016, arXiv 1608.01041). A map of None drops the class.
"""

from __future__ import annotations

EMOTIONS: tuple[str, ...] = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
UNKNOWN = "unknown"
"""The label of an observation that is too uncertain to name; never a class of a network."""

BASIC_SEVEN: tuple[str, ...] = EMOTIONS[:7]

FER2013_LABELS: tuple[str, ...] = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
    "neutral",
)
"""FER2013's integer labels 0..6."""

RAFDB_LABELS: tuple[str, ...] = (
    "surprise",
    "fear",
    "disgust",
    "happiness",
    "sadness",
    "anger",
    "neutral",
)
"""RAF-DB basic: labels 1..7 in its list file."""

COMPOUND_EMOTIONS: dict[str, tuple[str, str]] = {
    "happily surprised": ("happiness", "surprise"),
    "happily disgusted": ("happiness", "disgust"),
    "sadly fearful": ("sadness", "fear"),
    "sadly angry": ("sadness", "anger"),
    "sadly surprised": ("sadness", "surprise"),
    "sadly disgusted": ("sadness", "disgust"),
    "fearfully angry": ("fear", "anger"),
    "fearfully surprised": ("fear", "surprise"),
    "angrily surprised": ("anger", "surprise"),
    "angrily disgusted": ("anger", "disgust"),
    "disgustedly surprised": ("disgust", "surprise"),
}
"""RAF-DB compound: labels 1..11 in its list file, each with the two basic emotions it is of."""

AFFECTNET_LABELS: tuple[str, ...] = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
"""AffectNet: labels 0..7."""

CKPLUS_LABELS: tuple[str, ...] = (
    "neutral",
    "anger",
    "contempt",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
)
"""CK+: labels 0..7 in its emotion files."""

KDEF_CODES: dict[str, str] = {
    "AF": "fear",
    "AN": "anger",
    "DI": "disgust",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
"""KDEF: the fifth and sixth letter of a file name."""

FOLDER_NAMES: dict[str, str] = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
} | {name: name for name in (*EMOTIONS, *COMPOUND_EMOTIONS)}
"""What people call their class folders, lower case."""


def index_of(label: str) -> int:
    """Position of a label in EMOTIONS.

    >>> index_of("surprise")
    2
    """
    return EMOTIONS.index(label)
