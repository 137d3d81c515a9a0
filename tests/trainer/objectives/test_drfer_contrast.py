"""DCL is what one more face does to its class, by the statistics of the union themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.objectives.drfer.contrast import (
    ClassMemory,
    MemoryBuilder,
    distance_to_centre,
    floor_variance,
    read_memory,
    shift_by_batch,
    shift_by_one,
)

D = 6


def make_class(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, D, generator=generator, dtype=torch.float64) * 0.3 + 0.1


def memory_of(faces: Tensor) -> ClassMemory:
    """Of two classes, the second of them."""
    mean, variance = faces.mean(dim=0), faces.var(dim=0, correction=0)
    count = torch.tensor([5.0, len(faces)], dtype=torch.float64)
    return ClassMemory(
        count,
        torch.stack([torch.zeros_like(mean), mean]),
        torch.stack([torch.ones_like(mean), variance]),
    )


def ones(n: int) -> Tensor:
    return torch.ones(n, dtype=torch.int64)


def shift_of_union(faces: Tensor, added: Tensor) -> Tensor:
    """((N + n) / n)^2 mean_d[(mu' - mu)^2 + (sigma' - sigma)^2], from the faces themselves."""
    union = torch.cat([faces, added])
    means = union.mean(dim=0) - faces.mean(dim=0)
    deviations = union.std(dim=0, correction=0) - faces.std(dim=0, correction=0)
    scale = (len(union) / len(added)) ** 2
    return scale * (means.square() + deviations.square()).mean()


def test_one_face_against_the_statistics_of_the_union() -> None:
    faces, points = make_class(40), make_class(5, seed=1) * 3
    found = shift_by_one(points, ones(5), memory_of(faces))
    expected = torch.stack([shift_of_union(faces, point[None]) for point in points])
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_it_tends_to_its_limit_whatever_the_size_of_the_class() -> None:
    points, mean = make_class(5, seed=1) * 3, make_class(1)[0]
    variance = torch.linspace(0.05, 0.15, D, dtype=torch.float64)
    x = (points - mean).square()
    limit = ((x + variance).square() / (4 * variance)).mean(dim=1)
    values = []
    for n in (1e5, 1e7):
        memory = ClassMemory(torch.tensor([n]).double(), mean[None], variance[None])
        values.append(shift_by_one(points, torch.zeros(5).long(), memory))
        assert torch.allclose(values[-1], limit, rtol=1e-3)
    assert torch.allclose(*values, rtol=1e-3)
    single = ClassMemory(*(v.float() for v in (torch.tensor([1e5]), mean[None], variance[None])))
    found = shift_by_one(points.float(), torch.zeros(5).long(), single)
    assert torch.allclose(found.double(), limit, rtol=1e-3)  # digits are left in float32 too


def test_it_is_least_at_the_mean_and_not_zero_there() -> None:
    faces = make_class(2000)
    memory = memory_of(faces)
    point = memory.mean[1:].clone().requires_grad_()
    least = shift_by_one(point, ones(1), memory)
    least.sum().backward()  # type: ignore[no-untyped-call]
    assert point.grad is not None
    assert (point.grad == 0).all()
    assert float(least.detach()) == pytest.approx(float(memory.variance[1].mean() / 4), rel=1e-3)
    away = memory.mean[1] + torch.linspace(0, 2, 9)[:, None]
    values = shift_by_one(away, ones(9), memory)
    assert (values.diff() > 0).all()


def test_two_shares_of_a_batch_are_the_batch() -> None:
    points, memory = make_class(64, seed=3), memory_of(make_class(50))
    classes = torch.arange(64) % 2
    whole = shift_by_one(points, classes, memory).mean()
    halves = [shift_by_one(points[i::2], classes[i::2], memory).mean() for i in range(2)]
    assert float(whole) == pytest.approx(float(sum(halves)) / 2, rel=1e-12)


def test_the_batch_form_against_the_union_and_its_fall() -> None:
    faces = make_class(300)
    memory = memory_of(faces)
    added = make_class(7, seed=1) * 2
    classes = torch.tensor([1, 0, 1, 1, 0, 1, 1])
    found = shift_by_batch(added, classes, memory)
    expected = shift_of_union(faces, added[classes == 1])
    assert torch.allclose(found[classes == 1], expected, rtol=1e-9)
    mean, sigma = memory.mean[1], memory.variance[1].sqrt()
    pair = shift_by_batch(torch.stack([mean + sigma, mean - sigma]), ones(2), memory)
    assert pair.abs().max() < 1e-12
    generator = torch.Generator().manual_seed(0)
    means = []
    for n in (4, 16):
        drawn = mean + sigma * torch.randn(400, n, D, generator=generator, dtype=torch.float64)
        means.append(sum(float(shift_by_batch(p, ones(n), memory)[0]) for p in drawn))
    assert means[1] == pytest.approx(means[0] / 4, rel=0.35)


def test_the_centre_form() -> None:
    memory, points = memory_of(make_class(50)), make_class(3, seed=1)
    found = distance_to_centre(points, ones(3), memory)
    assert torch.allclose(found, (points - memory.mean[1]).square().mean(dim=1))


def test_a_memory_is_that_of_all_faces_of_the_epoch() -> None:
    faces, classes = make_class(90).float(), torch.arange(90) % 3
    builder = MemoryBuilder()
    assert builder.state() == {}
    for rows in torch.arange(90).split(16):
        builder.add(faces[rows], classes[rows], 4)
    state = {f"first.{name}": value for name, value in builder.state().items()}
    memory = read_memory(state, "first.", torch.device("cpu"))
    assert memory.count.tolist() == [30, 30, 30, 0]
    one = faces[classes == 1]
    assert torch.allclose(memory.mean[1], one.mean(dim=0), atol=1e-6)
    variance = floor_variance(one.var(dim=0, correction=0))
    assert torch.allclose(memory.variance[1], variance, atol=1e-6)
    floored = floor_variance(torch.tensor([[0.0, 2.0]]))
    assert torch.allclose(floored, torch.tensor([[0.1, 2.0]]))
    one_point = ClassMemory(
        torch.tensor([9.0]), torch.ones(1, D), floor_variance(torch.zeros(1, D))
    )
    assert shift_by_one(torch.zeros(2, D), torch.zeros(2).long(), one_point).isfinite().all()
