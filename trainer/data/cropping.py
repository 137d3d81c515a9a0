"""Faces cut out of photographs as the product cuts them out of frames, in class folders.

OUT/[train|test/]CLASS/NAME.png    `folder:plain:OUT` reads them back
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.atomic_files import unwritable
from models.crops import crop_faces
from trainer.data.check import EXAMPLES, WHOLE
from trainer.data.face_finder import FaceFinder
from trainer.data.images import write_image
from trainer.data.originals import file_names, list_originals
from trainer.errors import DataError


def crop_data(
    address: str, out: Path, progress: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """Write the largest face of each image into a new folder, all of them or nothing; an image
    without a face is left out.

    Returns how many images were written, by split, and which had no face. Raises DataError for a
    data set without any face, and UndercamError where nothing can be written.
    """
    originals = list_originals(address)
    finder, written = FaceFinder(), Counter[str]()
    without: list[str] = []
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        unfinished.mkdir(parents=True)
        for number, (original, name) in enumerate(
            zip(originals, file_names(originals), strict=True), start=1
        ):
            image = original.pixels()
            faces = finder.find(image)
            if len(faces):
                rgb = image if image.ndim == 3 else image[:, :, None].repeat(3, axis=2)
                folder = unfinished / original.split / original.label
                folder.mkdir(parents=True, exist_ok=True)
                write_image(folder / f"{name}.png", crop_faces(rgb, faces[:1])[0])
                written[original.split or WHOLE] += 1
            else:
                without.append(original.id)
            progress(number, len(originals))
        if not written:
            raise DataError("no face in any image", address, "see whether these are faces")
        unfinished.rename(out)
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {
        "images": written.total(),
        "splits": dict(written),
        "without_face": {"count": len(without), "examples": without[:EXAMPLES]},
    }
