"""Distillation: the mean prediction of trained networks as a part of a face's targets.

Hinton, Vinyals & Dean 2015, arXiv 1503.02531, with an ensemble for a teacher.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.crops import crops_from_tiles
from models.loading import as_classifier, find_weights, load_network
from models.model_input import to_model_input
from models.weights import ModelCard
from trainer.augment import warp_images
from trainer.clean_views import CleanViews
from trainer.compare.budgets import is_udc_trained
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.objectives.base import Batch, SoftLabels
from trainer.recipes import Distillation

INPUT_FIELDS = ("input_px", "channels", "mean", "std")
"""The card fields that define a network's input."""
REMEDY = "give teachers that were trained like the student"
SAME_CLASSES = "give teachers with the student's classes"


class Teacher(Protocol):
    """A trained classifier: inputs and ids to logits."""

    card: ModelCard

    def logits(self, x: Tensor, ids: NDArray[np.int64]) -> Tensor:
        """Model input (n, c, px, px) -> logits (n, K)."""
        ...


class TeacherEnsemble:
    """Mixes the teachers' mean prediction into the targets of a batch.

    Teachers classify the very images that the student is trained on; or, with `clean_views` of
    their logits, the faces without displays and warps.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        weight: float,
        own_input: Mapping[int, FaceSet] | None = None,
        temperature: float = 1.0,
        clean_views: Sequence[CleanViews] = (),
    ) -> None:
        self._teachers, self._weight = teachers, weight
        self._temperature, self._clean_views = temperature, clean_views
        self._own_input = own_input or {}
        """By the index of a teacher of another input: the faces that batches are drawn from."""

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """The batch with (1 - weight) votes + weight calibrated predictions for targets; at a
        temperature above 1, with the predictions for soft labels beside its votes.

        Images at a reduced resolution are enlarged to the teachers' input size; a teacher of
        another input than the student's gets its own (`teacher_input`).
        """
        # Probabilities are averaged, not logits: each teacher is divided by its own temperature
        # first, so an overconfident one does not outweigh the others.
        probabilities = [
            torch.softmax(
                self._logits(batch, index) / (teacher.card.temperature * self._temperature), dim=1
            )
            for index, teacher in enumerate(self._teachers)
        ]
        mean = torch.stack(probabilities).mean(dim=0)
        if self._temperature != 1:
            return replace(batch, soft_labels=SoftLabels(mean, self._weight, self._temperature))
        return replace(batch, targets=torch.lerp(batch.targets, mean, self._weight))

    def _logits(self, batch: Batch, index: int) -> Tensor:
        if self._clean_views:
            return self._clean_views[index](batch)
        ids = batch.rows.cpu().numpy()
        return self._teachers[index].logits(self._build_input(batch, index), ids).float()

    def _build_input(self, batch: Batch, index: int) -> Tensor:
        card = self._teachers[index].card
        if index in self._own_input:
            return teacher_input(self._own_input[index], batch, card)
        if batch.x.shape[-1] == card.input_px:
            return batch.x
        return functional.interpolate(batch.x, size=(card.input_px,) * 2, mode="bilinear")


def make_distillation(
    names: Sequence[str], weight: float, view: str = "same", temperature: float = 1.0
) -> Distillation:
    """The recipe's setting for teachers by name in the zoo or by path.

    It holds their sha256, so that a run is never resumed with other teachers. Raises ModelError
    for weights that do not exist.
    """
    files = [find_weights(name) for name in names]
    digests = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return Distillation(tuple(names), digests, weight, view, temperature)


def open_teachers(
    settings: Distillation, card: ModelCard, device: str = "cpu", faces: FaceSet | None = None
) -> TeacherEnsemble:
    """The teachers of a student with this card, on its device, with horizontal-flip TTA where they
    see the student's images; a clean face is classified once a run, without it.

    A teacher of clean faces, or of another size, channels or normalisation, needs the `faces` that
    batches are drawn from. Raises DataError where the latter are missing, for weights that have
    changed since, whose classes differ from the student's, or that were trained under displays
    where the student was not, or the reverse.
    """
    files = zip(settings.teachers, settings.sha256, strict=True)
    teachers = [_open_teacher(*file, card, settings.view, device, faces) for file in files]
    weight, temperature = settings.weight, settings.temperature
    if settings.view == "clean":
        if faces is None:
            raise ValueError("teachers of clean faces need the faces")
        views = [_view_clean(one, faces, device) for one in teachers]
        return TeacherEnsemble(teachers, weight, temperature=temperature, clean_views=views)
    own = {n: faces for n, one in enumerate(teachers) if faces and has_own_input(one.card, card)}
    return TeacherEnsemble(teachers, weight, own, temperature)


def _view_clean(teacher: Teacher, faces: FaceSet, device: str) -> CleanViews:
    """A teacher's logits of all faces; of random numbers it is given those of face 0."""
    return CleanViews(
        faces, teacher.card, lambda x: teacher.logits(x, np.zeros(len(x), np.int64)), device
    )


def _open_teacher(
    name: str, sha256: str, student: ModelCard, view: str, device: str, faces: FaceSet | None
) -> Teacher:
    path = find_weights(name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise DataError("the teacher's weights have changed", str(path), "start another run")
    network, card = load_network(str(path))
    for fact in ("labels", "crop", *(() if faces else INPUT_FIELDS)):
        ours, theirs = getattr(student, fact), getattr(card, fact)
        if ours != theirs:
            what = f"a teacher with {fact} {theirs!r}, the student has {ours!r}"
            raise DataError(what, str(path), SAME_CLASSES if fact == "labels" else REMEDY)
    if view == "same" and student.recipe.get("panel") and has_own_input(card, student):
        what = "a teacher of another input, which cannot see the student's simulated displays"
        raise DataError(what, str(path), "give --teacher-view clean, or teachers of the same input")
    if view == "clean" and is_udc_trained(vars(card)):
        what = "a teacher of clean images that was trained under displays"
        raise DataError(what, str(path), "give one that was trained on clean faces")
    if view == "same" and is_udc_trained(vars(card)) != is_udc_trained(vars(student)):
        what = "of teacher and student only one was trained under displays"
        raise DataError(what, str(path), REMEDY)
    return as_classifier(network, card, flip=view == "same", device=device)


def has_own_input(teacher: ModelCard, student: ModelCard) -> bool:
    """Whether a teacher takes another input than the student."""
    return any(getattr(teacher, name) != getattr(student, name) for name in INPUT_FIELDS)


def teacher_input(faces: FaceSet, batch: Batch, card: ModelCard) -> Tensor:
    """The faces of a batch as this teacher's input, (n, channels, px, px) float32, on the batch's
    device.

    Enlarging the student's image would show the teacher a blurred face that it was never trained
    on, so its input is made from the faces themselves, as serving makes it. The warp is the
    batch's; the student's contrast, brightness and erased square are left out.
    """
    rows = batch.rows.cpu().numpy()
    x = to_model_input(crops_from_tiles(faces.tiles[rows]), card)
    return warp_images(x, batch.warps.cpu()).to(batch.x.device)
