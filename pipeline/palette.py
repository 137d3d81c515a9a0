"""One colour per expression, the same in annotated videos and on the dashboard.

Found by search: for normal vision and the three kinds of colour blindness, any two colours differ
by at least 16 in CIELAB, and each has contrast to white and to near-black.
"""

from __future__ import annotations

EMOTION_COLOURS: dict[str, str] = {
    "neutral": "#8FB0EE",
    "happiness": "#E4D21E",
    "surprise": "#C47F00",
    "sadness": "#3A6495",
    "anger": "#C0382B",
    "disgust": "#00B87A",
    "fear": "#9C56D8",
    "contempt": "#FAB4D0",
    "unknown": "#7A8086",
}
"""`#RRGGBB` of every label."""


def rgb(label: str) -> tuple[int, int, int]:
    """Red, green and blue of a label, each 0..255.

    >>> rgb("anger")
    (192, 56, 43)
    """
    red, green, blue = bytes.fromhex(EMOTION_COLOURS[label].removeprefix("#"))
    return red, green, blue
