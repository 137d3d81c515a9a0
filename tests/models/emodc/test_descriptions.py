"""The condition door: words by cross-attention, compound emotions, and weights that carry over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.crops import Crops
from models.emodc.classifier import EmoDCClassifier
from models.emodc.descriptions import (
    DESCRIPTIONS,
    PHRASES,
    REGIONS,
    CrossAttention,
    IdDescriptions,
    TextDescriptions,
)
from models.emodc.encoder import EMBEDDING
from models.emodc.network import EmoDC
from models.emotions import BASIC_SEVEN, COMPOUND_EMOTIONS, EMOTIONS
from models.loading import load_classifier
from models.weights import ModelCard, save

Make = Callable[..., EmoDC]
WORDS: dict[str, Any] = {"condition": "text", "labels": list(EMOTIONS)}
EACH = pytest.mark.parametrize("head", ["cond", "split"])
COMPOUND = tuple(COMPOUND_EMOTIONS)


@pytest.fixture
def noisy() -> tuple[Tensor, Tensor]:
    """Three faces at three noise levels."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, 1, 16, 16, generator=generator), torch.tensor([0.01, 0.1, 1.0])


def test_every_emotion_is_described_in_other_words() -> None:
    assert DESCRIPTIONS.keys() == set(EMOTIONS)
    assert all(len(each) == len(REGIONS) for each in DESCRIPTIONS.values())
    assert len(set(DESCRIPTIONS.values())) == len(EMOTIONS)
    assert len(PHRASES) < len(EMOTIONS) * len(REGIONS)  # emotions share phrases


@EACH
def test_at_the_start_words_change_nothing(head: str, noisy: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    network = EmoDC(8, head=head, width=8, **WORDS).eval()
    predicted = network(*noisy)
    assert predicted.shape == (3, 9, 1, 16, 16)
    torch.testing.assert_close(predicted, predicted[:, :1].expand(-1, 9, -1, -1, -1))


@EACH
def test_one_emotion_at_a_time_is_all_at_once(
    make_emodc: Make, head: str, noisy: tuple[Tensor, Tensor]
) -> None:
    network = make_emodc(head=head, **WORDS)
    together = network(*noisy)
    differs = (together[:, 1:] - together[:, :1]).detach().abs().amax(dim=(0, 2, 3, 4))
    assert float(differs.min()) > 1e-4
    for emotion in range(9):
        alone = network.predict_under(*noisy, torch.full((3,), emotion))
        torch.testing.assert_close(together[:, emotion], alone, atol=1e-5, rtol=1e-5)
    some = network(*noisy, torch.tensor([5, 2]))
    torch.testing.assert_close(some, together[:, [5, 2]], atol=1e-5, rtol=1e-5)


@EACH
def test_the_words_are_all_that_it_knows_of_an_emotion(
    make_emodc: Make, head: str, noisy: tuple[Tensor, Tensor]
) -> None:
    """Labels in another order are described as before; without a word all are alike."""
    order = [3, 0, 7, 1, 2, 6, 5, 4]
    network = make_emodc(head=head, **WORDS)
    other = make_emodc(head=head, condition="text", labels=[EMOTIONS[place] for place in order])
    expected = network(*noisy)[:, [*order, 8]]
    torch.testing.assert_close(other(*noisy), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        network.descriptions.phrases.weight.zero_()
    same = network(*noisy)
    torch.testing.assert_close(same, same[:, :1].expand(-1, 9, -1, -1, -1), atol=1e-6, rtol=0)


def test_attention_is_the_definition() -> None:
    """One place and one head at a time; a place reads the mean of equal phrases."""
    torch.manual_seed(0)
    attention = CrossAttention(12, 5)
    nn.init.normal_(attention.out.weight)
    maps, description = torch.randn(2, 12, 3, 2), torch.randn(2, 5, EMBEDDING)
    found = attention(maps, description)
    assert found.shape == (2, 5, 3, 2)
    query = attention.queries(attention.norm(maps[1, :, 2, 1])).view(4, 16)
    keys = attention.keys(description[1]).view(5, 4, 16)
    values = attention.values(description[1]).view(5, 4, 16)
    read = [
        torch.softmax(keys[:, head] @ query[head] / 4, dim=0) @ values[:, head] for head in range(4)
    ]
    expected = attention.out(torch.cat(read))
    torch.testing.assert_close(found[1, :, 2, 1], expected)
    equal = attention(maps, description[:, :1].expand(-1, 5, -1))
    torch.testing.assert_close(equal, equal[:, :, :1, :1].expand(-1, -1, 3, 2))


@pytest.mark.parametrize("make", [lambda labels: IdDescriptions(11, labels), TextDescriptions])
def test_compound_emotions_are_composed_of_basic_ones(
    make: Callable[[tuple[str, ...]], nn.Module],
) -> None:
    torch.manual_seed(0)
    compound, basic = make(COMPOUND), make(BASIC_SEVEN)
    assert isinstance(compound.composition, nn.Module)
    composed = compound.composition.get_submodule("linear")
    missing = compound.load_state_dict(basic.state_dict(), strict=False)
    assert missing.missing_keys == ["composition.linear.weight", "composition.linear.bias"]
    assert missing.unexpected_keys == []
    found, parts = compound(torch.arange(12)), basic(torch.arange(8))
    for row, pair in enumerate(COMPOUND_EMOTIONS.values()):
        first, second = (parts[BASIC_SEVEN.index(part)] for part in pair)
        torch.testing.assert_close(found[row], first + second)
    assert torch.equal(found[11], parts[7])  # none is none
    nn.init.normal_(composed.weight)  # type: ignore[arg-type]
    happily_surprised = compound(torch.tensor([0]))[0]
    torch.testing.assert_close(happily_surprised, composed(parts[1] + parts[2]))


@pytest.mark.parametrize("condition", ["ids", "text"])
def test_a_compound_network_trains_and_predicts_its_eleven(
    condition: str, noisy: tuple[Tensor, Tensor]
) -> None:
    torch.manual_seed(0)
    network = EmoDC(11, head="cond", width=8, condition=condition, labels=COMPOUND)
    predicted = network(*noisy)
    assert predicted.shape == (3, 12, 1, 16, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        network(*noisy)[:, :3].square().mean().backward()
        optimizer.step()
    composed = network.descriptions.get_submodule("composition.linear")
    assert not torch.equal(composed.weight, torch.eye(EMBEDDING))


def test_the_table_of_ids_is_as_it_was() -> None:
    """State, start and prediction: weights from before there was a door still load."""
    torch.manual_seed(1)
    expected = nn.Embedding(9, EMBEDDING).weight
    torch.manual_seed(1)
    table = IdDescriptions(8)
    assert list(table.state_dict()) == ["weight"]
    assert torch.equal(table.weight, expected)
    assert torch.equal(table(torch.tensor([8, 0])), expected[[8, 0]])


def test_encodings_are_stored_with_the_weights(
    emodc_card: Callable[..., ModelCard], crops: Crops, tmp_path: Path
) -> None:
    """A file serves without the encoder that its phrases were encoded by."""
    settings: dict[str, Any] = {"width": 8, "dropout": 0.0, "head": "split", "encodings": 24}
    torch.manual_seed(0)
    network = EmoDC(8, **settings, **WORDS).eval()
    nn.init.normal_(network.readers["1"].out.weight)
    network.descriptions.encodings.normal_()  # type: ignore[operator]
    card = emodc_card(**settings, **WORDS)
    made = EmoDCClassifier(network, card).predict(crops).probabilities
    assert abs(made[:, 1:] - made[:, :1]).max() > 1e-3
    save(tmp_path / "w.safetensors", card, network.state_dict())
    loaded = load_classifier(str(tmp_path / "w.safetensors"))
    np.testing.assert_allclose(loaded.predict(crops).probabilities, made, atol=0.02)


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "multi", **WORDS},
        {"head": "cond", "condition": "clip"},
        {"head": "cond", "condition": "text"},
        {"head": "cond", "labels": ["neutral"]},
        {"head": "cond", "condition": "text", "labels": ["boredom", *EMOTIONS[1:]]},
        {"head": "cond", "labels": ["boredom", *COMPOUND[:7]]},
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        EmoDC(8, width=8, **settings)
