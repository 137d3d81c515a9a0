"""What a person wants to know of a data set before training on it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.face_finder import FaceFinder
from trainer.data.originals import Original, list_originals
from trainer.errors import DataError

EXAMPLES = 5
"""Names of images that are listed of each finding."""
WHOLE = "all"
"""The name of the one split, where a data set has no others."""
FEW = 50
"""Faces of a class in a training split below which it is hardly learned."""
SMALL_PX = 40
FILLS = 0.6
"""Share of an image's height that a face has in a crop, at the least, on the median."""
Progress = Callable[[int, int], None]


@dataclass
class Findings:
    """What was found, image by image."""

    classes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sizes: list[tuple[int, int]] = field(default_factory=list)
    pixels: dict[str, list[Original]] = field(default_factory=lambda: defaultdict(list))
    unreadable: list[dict[str, str]] = field(default_factory=list)
    searched: int = 0
    without_face: list[str] = field(default_factory=list)
    several_faces: int = 0
    heights: list[float] = field(default_factory=list)


def check_data(
    address: str, detect: int, progress: Progress = lambda done, of: None
) -> dict[str, Any]:
    """Counts, sizes, duplicates, unreadable images and, in `detect` images of each split (0: none),
    those without a face. Raises DataError for a data set that cannot be listed."""
    originals = list_originals(address)
    if not originals:
        raise DataError("no images", address, "is this the layout of the data set?")
    chosen = _choose(originals, detect)
    finder = FaceFinder() if chosen else None
    findings = Findings()
    for number, original in enumerate(originals):
        _read(original, findings, finder if number in chosen else None)
        progress(number + 1, len(originals))
    return _summarise(address, findings)


def _choose(originals: Sequence[Original], detect: int) -> set[int]:
    """The rows of `detect` images of each split, evenly apart."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, original in enumerate(originals):
        rows[original.split].append(row)
    return {
        own[index]
        for own in rows.values()
        for index in np.linspace(0, len(own) - 1, min(detect, len(own))).astype(int).tolist()
    }


def _read(original: Original, findings: Findings, finder: FaceFinder | None) -> None:
    findings.classes[original.split or WHOLE][original.label] += 1
    try:
        image = original.pixels()
    except DataError as error:
        findings.unreadable.append({"image": _name(original), "why": error.what})
        return
    findings.sizes.append((image.shape[1], image.shape[0]))
    findings.pixels[_digest(image)].append(original)
    if finder is None:
        return
    faces = finder.find(image)
    findings.searched += 1
    findings.several_faces += len(faces) > 1
    if len(faces):
        top, bottom = faces.boxes[0, [1, 3]]
        findings.heights.append(float(bottom - top) / image.shape[0])
    else:
        findings.without_face.append(_name(original))


def _digest(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()


def _name(original: Original) -> str:
    """An image as a message names it: split, label and id."""
    parts = (original.split, original.label, original.id)
    return " ".join(part for part in parts if part)


def _summarise(address: str, found: Findings) -> dict[str, Any]:
    groups = [group for group in found.pixels.values() if len(group) > 1]
    across = [group for group in groups if len({each.split for each in group}) > 1]
    unlike = [group for group in groups if len({each.label for each in group}) > 1]
    result: dict[str, Any] = {
        "data": address,
        "images": sum(counts.total() for counts in found.classes.values()),
        "splits": {
            split: {"images": counts.total(), "classes": dict(counts.most_common())}
            for split, counts in found.classes.items()
        },
        "sizes": _describe_sizes(found.sizes),
        "unreadable": _examples(found.unreadable),
        "duplicates": {
            "images": sum(len(group) - 1 for group in groups),
            "across_splits": _examples([_names(group) for group in across]),
            "with_other_labels": _examples([_names(group) for group in unlike]),
        },
    }
    if found.searched:
        result["faces"] = {
            "images": found.searched,
            "without_face": _examples(found.without_face),
            "several_faces": found.several_faces,
            "height_share": round(float(np.median(found.heights)), 3) if found.heights else None,
        }
    return result | {"advice": _advise(result)}


def _names(group: Sequence[Original]) -> list[str]:
    return [_name(each) for each in group]


def _examples(every: Sequence[Any]) -> dict[str, Any]:
    return {"count": len(every), "examples": list(every[:EXAMPLES])}


def _describe_sizes(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    if not sizes:
        return {}
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    return {
        "smallest": list(by_area[0]),
        "median": list(by_area[len(by_area) // 2]),
        "largest": list(by_area[-1]),
    }


def _advise(result: dict[str, Any]) -> list[str]:
    """What to do before training, each as a sentence."""
    advice = []
    if result["unreadable"]["count"]:
        advice.append("remove or replace the images that cannot be read: training stops at them")
    if result["duplicates"]["across_splits"]["count"]:
        advice.append("remove the test images that are also in the training split")
    if result["duplicates"]["with_other_labels"]["count"]:
        advice.append("decide on one label for equal images, or train with --labels for noise")
    fitted = result["splits"].get("train") or result["splits"].get(WHOLE) or {"classes": {}}
    rare = [name for name, count in fitted["classes"].items() if count < FEW]
    if rare:
        advice.append(
            f"fewer than {FEW} images of {', '.join(rare)}: add some, or expect to miss them"
        )
    if result["sizes"] and min(result["sizes"]["median"]) < SMALL_PX:
        advice.append(f"images are small, below {SMALL_PX} pixels: so are the details in them")
    faces = result.get("faces", {})
    height = faces.get("height_share")
    if height is not None and height < FILLS:
        share = f"{height:.0%} of an image's height"
        advice.append(f"faces fill {share}: cut them out with `undercam data crop`")
    if faces and faces["without_face"]["count"] > 0.1 * faces["images"]:
        advice.append("the detector finds no face in many images: see them before training")
    return advice
