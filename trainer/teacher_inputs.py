"""The input of a teacher whose size, channels or normalisation is not the student's.

Enlarging the student's image would show the teacher a blurred face that it was never trained on, so
its input is made from the faces themselves, exactly as serving makes it.
"""

from __future__ import annotations

from torch import Tensor

from models.crops import crops_from_tiles
from models.model_input import to_model_input
from models.weights import ModelCard
from trainer.augment import warp_images
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch

INPUT_FIELDS = ("input_px", "channels", "mean", "std")


def has_own_input(teacher: ModelCard, student: ModelCard) -> bool:
    """Whether a teacher takes another input than the student."""
    return any(getattr(teacher, name) != getattr(student, name) for name in INPUT_FIELDS)


def teacher_input(faces: FaceSet, batch: Batch, card: ModelCard) -> Tensor:
    """The faces of a batch as this teacher's input, (n, channels, px, px) float32, on the batch's
    device.

    The warp is the batch's; the student's contrast, brightness and erased square are left out.
    """
    rows = batch.rows.cpu().numpy()
    x = to_model_input(crops_from_tiles(faces.tiles[rows]), card)
    return warp_images(x, batch.warps.cpu()).to(batch.x.device)
