"""Distillation: what several trained networks say of a face, mixed into what is learnt of it.

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

from models.loading import as_classifier, find_weights, load_network
from models.weights import ModelCard
from trainer.compare.budgets import saw_displays
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.objectives.base import Batch
from trainer.recipes import Distil
from trainer.teacher_inputs import INPUT_FIELDS, has_own_input, teacher_input


class AskedTeacher(Protocol):
    """A classifier as a teacher is asked: inputs and ids to logits."""

    card: ModelCard

    def logits(self, x: Tensor, ids: NDArray[np.int64]) -> Tensor:
        """Model input (n, c, px, px) -> logits (n, K)."""
        ...


class Teachers:
    """An ensemble that judges the very images that the student is shown, or with `view` `clean` the
    same faces without their displays."""

    def __init__(
        self,
        asked: Sequence[AskedTeacher],
        share: float,
        view: str = "same",
        own_input: Mapping[int, FaceSet] | None = None,
    ) -> None:
        self._asked, self._share, self._view = asked, share, view
        self._own_input = own_input or {}
        """By the number of a teacher of another input: the faces that batches are drawn from."""

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """The batch, its targets (1 - share) votes and share the mean of the teachers' calibrated
        answers. A picture that was shrunk is brought back to the size that they know; a teacher
        of another input than the student's gets its own (`trainer.teacher_inputs`)."""
        ids = batch.rows.cpu().numpy()
        answers = [
            torch.softmax(one.logits(self._input(batch, n), ids).float() / one.card.temperature, 1)
            for n, one in enumerate(self._asked)
        ]
        mean = torch.stack(answers).mean(dim=0)
        return replace(batch, targets=torch.lerp(batch.targets, mean, self._share))

    def _input(self, batch: Batch, number: int) -> Tensor:
        card = self._asked[number].card
        if number in self._own_input:
            return teacher_input(self._own_input[number], batch, card)
        px = card.input_px
        x = batch.x if self._view == "same" else batch.clean
        if x is None:
            raise ValueError("teachers of the clean view need batches with a clean twin")
        if x.shape[-1] != px:
            x = functional.interpolate(x, size=(px, px), mode="bilinear")
        return x


def distil(names: Sequence[str], share: float, view: str = "same") -> Distil:
    """The setting of a recipe for teachers by name in the zoo or by path: it holds their digests,
    so that a run does not go on with others. Raises ModelError where there are none such."""
    files = [find_weights(name) for name in names]
    digests = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return Distil(tuple(names), digests, share, view)


def open_teachers(
    how: Distil, card: ModelCard, device: str = "cpu", faces: FaceSet | None = None
) -> Teachers:
    """The teachers of a student with this card, on its device, each averaged with the mirror image.

    A teacher of another size, channels or normalisation needs the `faces` that batches are drawn
    from. Raises DataError where they are missing, for weights that have changed since, for other
    classes than the student's, and where one alone learned behind displays.
    """
    files = zip(how.teachers, how.sha256, strict=True)
    teachers = [_opened(*file, card, how.view, device, faces) for file in files]
    own = {n: faces for n, one in enumerate(teachers) if faces and has_own_input(one.card, card)}
    return Teachers(teachers, how.share, how.view, own)


def _opened(
    name: str,
    sha256: str,
    student: ModelCard,
    view: str,
    device: str,
    faces: FaceSet | None,
) -> AskedTeacher:
    path = find_weights(name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise DataError("the teacher's weights have changed", str(path), "begin another run")
    network, card = load_network(str(path))
    for fact in ("labels", *(() if faces else INPUT_FIELDS)):
        ours, theirs = getattr(student, fact), getattr(card, fact)
        if ours != theirs:
            what = f"a teacher with {fact} {theirs!r}, the student has {ours!r}"
            raise DataError(what, str(path), "give teachers that were trained like the student")
    if view == "same" and student.recipe.get("panel") and has_own_input(card, student):
        what = "a teacher of another input, which cannot see the student's simulated displays"
        raise DataError(what, str(path), "give --teacher-view clean, or teachers of the same input")
    if view == "clean" and saw_displays(vars(card)):
        what = "a teacher of clean images that learned behind displays"
        raise DataError(what, str(path), "give one that learned from clean faces")
    if view == "same" and saw_displays(vars(card)) != saw_displays(vars(student)):
        what = "of teacher and student one learned behind displays, the other did not"
        raise DataError(what, str(path), "give teachers that were trained like the student")
    return as_classifier(network, card, device=device)
