"""A face's id decides its start, whatever it is batched with; weights that cannot serve say so."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.crops import Crops
from models.errors import ModelError
from models.loading import as_classifier, build_network, load_classifier, load_network
from models.lrdif.classifier import LRDifClassifier, draw_noise
from models.lrdif.network import LRDif
from models.model_input import to_model_input
from models.scores import mutual_information, normalised_entropy
from models.weights import CARD_KEY, ModelCard, save, to_stored

MakeCard = Callable[..., ModelCard]
MakeNetwork = Callable[..., LRDif]
IDS = np.array([7, 0, -3, 2**62, 8], np.int64)


@pytest.fixture
def weights(tmp_path: Path, small_card: MakeCard, make_network: MakeNetwork) -> Path:
    """A file of the small network."""
    save(tmp_path / "w.safetensors", small_card(), make_network().state_dict())
    return tmp_path / "w.safetensors"


@pytest.fixture
def make_classifier(
    small_card: MakeCard, make_network: MakeNetwork
) -> Callable[..., LRDifClassifier]:
    """A classifier of the small network; keyword arguments are its own."""

    def make(settings: dict[str, object] | None = None, **options: object) -> LRDifClassifier:
        settings = settings or {}
        return LRDifClassifier(make_network(**settings), small_card(**settings), **options)  # type: ignore[arg-type]

    return make


Make = Callable[..., LRDifClassifier]


def test_scores_are_probabilities(make_classifier: Make, crops: Crops) -> None:
    asked = make_classifier()
    scores = asked.predict(crops, IDS)
    assert scores.probabilities.shape == (5, 8)
    assert scores.probabilities.dtype == scores.uncertainty.dtype == np.float32
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(scores.uncertainty, normalised_entropy(scores.probabilities))
    assert [make_classifier(flip=flip).mode for flip in (True, False)] == [
        "lrdif-4-flip",
        "lrdif-4",
    ]


def test_the_id_decides_the_start_in_any_batch(make_classifier: Make, crops: Crops) -> None:
    asked = make_classifier()
    together = asked.predict(crops, IDS).probabilities
    turned = asked.predict(np.ascontiguousarray(crops[::-1]), IDS[::-1]).probabilities[::-1]
    np.testing.assert_allclose(turned, together, atol=1e-5)
    for row in range(5):
        alone = asked.predict(crops[row : row + 1], IDS[row : row + 1]).probabilities
        np.testing.assert_allclose(alone, together[row : row + 1], atol=1e-5)
    other = asked.predict(crops, IDS + 1).probabilities
    assert abs(other - together).max(axis=1).min() > 1e-4


def test_starts_are_bitwise_those_of_the_id(make_classifier: Make) -> None:
    asked = make_classifier()
    together = asked._noise(IDS, 0)[0]
    for row, face in enumerate(IDS):
        assert torch.equal(asked._noise(np.array([face]), 0)[0][0], together[row])
        assert np.array_equal(draw_noise(int(face), 0, 1, 12)[0], together[row].numpy())


def test_starts_are_standard_normal_and_every_face_has_its_own() -> None:
    drawn = np.stack([draw_noise(face, draw, 4, 128) for face in range(40) for draw in range(2)])
    flat = drawn.reshape(80, -1)
    assert abs(flat.mean()) < 4 / flat.size**0.5
    assert abs(flat.var() - 1) < 4 * (2 / flat.size) ** 0.5
    rho = np.asarray(np.corrcoef(flat))[np.triu_indices(80, 1)]
    assert abs(rho).max() < 5 / flat.shape[1] ** 0.5


def test_more_noise_does_not_move_the_start() -> None:
    assert np.array_equal(draw_noise(5, 0, 4, 12)[0], draw_noise(5, 0, 1, 12)[0])


def test_faces_without_ids_have_id_nought(make_classifier: Make, crops: Crops) -> None:
    asked = make_classifier()
    zeros = asked.predict(crops, np.zeros(5, np.int64)).probabilities
    assert np.array_equal(asked.predict(crops).probabilities, zeros)


def test_draws_are_averaged_as_probabilities(make_classifier: Make, crops: Crops) -> None:
    asked, one = make_classifier(draws=3, flip=False), make_classifier(flip=False)
    x = to_model_input(crops, asked.card)
    starts = [np.stack([draw_noise(int(i), draw, 1, 12)[0] for i in IDS]) for draw in range(3)]
    with torch.inference_mode():
        logits = [asked._network(x, torch.from_numpy(start)) for start in starts]
    each = torch.softmax(torch.stack(logits), dim=2).numpy()
    np.testing.assert_allclose(asked.predict_draws(crops, IDS), each, atol=1e-5)
    found = asked.predict(crops, IDS)
    np.testing.assert_allclose(found.probabilities, each.mean(axis=0), atol=1e-5)
    assert np.array_equal(found.uncertainty, normalised_entropy(found.probabilities))
    np.testing.assert_allclose(one.predict(crops, IDS).probabilities, each[0], atol=1e-5)
    assert abs(each[0] - each[1]).max() > 1e-3
    assert asked.mode == "lrdif-4-x3"


def test_draws_hang_on_the_id_alone(make_classifier: Make, crops: Crops) -> None:
    asked = make_classifier(draws=4)
    together = asked.predict_draws(crops, IDS)
    assert together.shape == (4, 5, 8)
    turned = asked.predict_draws(np.ascontiguousarray(crops[::-1]), IDS[::-1])[:, ::-1]
    np.testing.assert_allclose(turned, together, atol=1e-5)
    again = make_classifier(draws=4).predict_draws(crops, IDS)
    assert np.array_equal(again, together)
    np.testing.assert_allclose(
        make_classifier(draws=2).predict_draws(crops, IDS), together[:2], atol=1e-6
    )


def test_draws_that_differ_are_told_from_draws_that_do_not(
    make_classifier: Make, crops: Crops
) -> None:
    differing = mutual_information(make_classifier(draws=8).predict_draws(crops, IDS))
    assert ((differing > 1e-5) & (differing < 1)).all()
    same = mutual_information(make_classifier(draws=8, start="zero").predict_draws(crops, IDS))
    assert same.max() < 1e-6


def test_many_draws_agree_more_than_few(make_classifier: Make, crops: Crops) -> None:
    def spread(draws: int) -> float:
        asked = make_classifier(draws=draws, flip=False)
        said = asked.predict(crops[:1].repeat(40, axis=0), np.arange(40))
        return float(said.probabilities.std(axis=0).mean())

    assert spread(8) < 0.6 * spread(1)


def test_a_start_from_zero_hangs_on_no_id(make_classifier: Make, crops: Crops) -> None:
    asked = make_classifier(start="zero")
    found = asked.predict(crops, IDS).probabilities
    assert np.array_equal(asked.predict(crops, IDS + 1).probabilities, found)
    with torch.inference_mode():
        x = to_model_input(crops, asked.card)
        logits = sum(asked._network(view, torch.zeros(5, 12)) for view in (x, x.flip(3)))
    np.testing.assert_allclose(found, torch.softmax(logits / 2, dim=1).numpy(), atol=1e-5)


def test_inserted_noise_is_drawn_by_id(make_classifier: Make, crops: Crops) -> None:
    asked = make_classifier({"insert_noise": True}, flip=False)
    x = to_model_input(crops, asked.card)
    start, *noises = (
        torch.from_numpy(np.stack([draw_noise(int(face), 0, 4, 12)[step] for face in IDS]))
        for step in range(4)
    )
    with torch.inference_mode():
        found, wanted = asked.logits(x, IDS), asked._network(x, start, noises)
        without = asked._network(x, start)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (found - without).abs().max() > 1e-3


def test_flip_averaging_knows_no_left_and_right(make_classifier: Make, crops: Crops) -> None:
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    both, one = make_classifier(), make_classifier(flip=False)
    found = both.predict(crops, IDS).probabilities
    np.testing.assert_allclose(both.predict(mirrored, IDS).probabilities, found, atol=1e-5)
    alone = one.predict(crops, IDS).probabilities
    assert abs(one.predict(mirrored, IDS).probabilities - alone).max() > 1e-3


def test_temperature_divides_the_logits(
    make_network: MakeNetwork, small_card: MakeCard, crops: Crops
) -> None:
    card = small_card()
    warm = ModelCard(**(card.__dict__ | {"temperature": 2.0}))
    asked, other = (LRDifClassifier(make_network(), c) for c in (card, warm))
    with torch.inference_mode():
        logits = asked.logits(to_model_input(crops, card), IDS)
    wanted = torch.softmax(logits / 2, dim=1).numpy()
    np.testing.assert_allclose(other.predict(crops, IDS).probabilities, wanted, atol=1e-6)


def test_no_crops_no_scores(make_classifier: Make, crops: Crops) -> None:
    for ids in (None, IDS[:0]):
        scores = make_classifier().predict(crops[:0], ids)
        assert scores.probabilities.shape == (0, 8)
        assert scores.uncertainty.shape == (0,)


@pytest.mark.parametrize("options", [{"draws": 0}, {"start": "one"}])
def test_another_way_of_asking(weights: Path, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give 1 or more of seeded, zero"):
        load_classifier(str(weights), **options)


def test_what_is_loaded_scores_as_what_was_saved(
    weights: Path, make_network: MakeNetwork, small_card: MakeCard, crops: Crops
) -> None:
    loaded = load_classifier(str(weights))
    assert isinstance(loaded, LRDifClassifier)
    network = make_network()
    network.load_state_dict({
        name: value.float() if value.is_floating_point() else value
        for name, value in to_stored(network.state_dict()).items()
    })  # fmt: skip
    wanted = LRDifClassifier(network, small_card()).predict(crops, IDS).probabilities
    np.testing.assert_allclose(loaded.predict(crops, IDS).probabilities, wanted, atol=1e-6)


@pytest.mark.parametrize(
    "crop",
    [lambda c: c[:, :100], lambda c: c.astype(np.float32), lambda c: c[..., 0], lambda c: c[0]],
    ids=["size", "dtype", "grey", "one"],
)
def test_crops_of_another_kind(weights: Path, crops: Crops, crop: Callable[[Crops], Crops]) -> None:
    with pytest.raises(ModelError, match=r"crops of shape .*: give \(n, 112, 112, 3\) uint8 RGB"):
        load_classifier(str(weights)).predict(crop(crops))


def test_an_id_belongs_to_one_crop(make_classifier: Make, crops: Crops) -> None:
    with pytest.raises(ValueError, match=rf"ids: expected \({len(crops)},\), got \(1,\)"):
        make_classifier().predict(crops, np.zeros(1, np.int64))


def written(path: Path, card: ModelCard, state: dict[str, Tensor]) -> str:
    """As `save` would, but for its checks."""
    save_file(to_stored(state), path, metadata={CARD_KEY: card.to_json()})
    return str(path)


@pytest.mark.parametrize(
    "name", ["former.head.bias", "restorer.denoiser.layers.2.weight", "encoder.layers.0.weight"]
)
def test_weights_that_are_not_numbers(
    tmp_path: Path, make_network: MakeNetwork, small_card: MakeCard, crops: Crops, name: str
) -> None:
    state = make_network().state_dict()
    state[name].view(-1)[0] = math.nan
    with pytest.raises(ModelError, match=f"not a number of float16 in {name}"):
        save(tmp_path / "w.safetensors", small_card(), state)
    path = written(tmp_path / "w.safetensors", small_card(), state)
    with pytest.raises(ModelError, match="scores are not numbers: tiny: use other weights"):
        load_classifier(path)
    with pytest.raises(ModelError, match="scores are not numbers: tiny: use other weights"):
        as_classifier(*load_network(path)).predict(crops, IDS)


@pytest.mark.parametrize(
    "other",
    [{"model": "resnet18", "network": {"width": 4}}, {"width": 32}, {"restorer": "mlp"}],
    ids=str,
)
def test_weights_of_another_model(
    tmp_path: Path, small_card: MakeCard, make_card: MakeCard, other: dict[str, object]
) -> None:
    of = make_card(**other) if "model" in other else small_card(**other)
    path = written(tmp_path / "w.safetensors", small_card(), build_network(of).state_dict())
    with pytest.raises(ModelError, match="weights of another network: .*do not fit LRDif"):
        load_classifier(path)
