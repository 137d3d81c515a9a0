"""Presets are complete, and an unknown one is refused with the known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.baselines.resnet import ResNet18
from models.crops import GEOMETRY
from models.emodc.network import EmoDC
from models.emotions import EMOTIONS
from models.loading import build_network, zoo_names
from models.lrdif.network import LRDif
from models.registry import FAMILIES
from models.weights import ModelCard
from trainer.errors import OptionError
from trainer.optimisation import resolution_at
from trainer.presets import current_name, find_preset, list_presets
from trainer.recipes import RandomPanel, Recipe


def plan_network(recipe: Recipe) -> nn.Module:
    """The network of a recipe, of shapes alone, for the classes that it names or FER+'s."""
    labels = tuple(recipe.network.get("labels", EMOTIONS))
    card = ModelCard(
        *("made", recipe.model, recipe.network, labels, recipe.input_px, recipe.channels),
        *((recipe.mean,) * recipe.channels, (recipe.std,) * recipe.channels, GEOMETRY, "", ""),
    )
    with torch.device("meta"):
        return build_network(card)


@pytest.mark.parametrize(("model", "name"), list_presets())
def test_a_preset_builds_its_network_and_ends_at_full_size(model: str, name: str) -> None:
    recipe = find_preset(model, name)
    assert recipe.model == model
    assert sum(1 for _ in plan_network(recipe).parameters()) > 10
    for stage in recipe.stages:
        assert resolution_at(stage, stage.epochs - 1) == recipe.input_px
        assert recipe.augment.erase_px[1] < recipe.input_px


@pytest.mark.parametrize(("model", "name"), list_presets())
def test_no_1x1_convolution_of_few_channels_is_trained(model: str, name: str) -> None:
    """The backward pass of one overwrites memory (torch 2.13): nothing said, now and then a
    crash."""
    network = plan_network(find_preset(model, name))
    found = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert found
    assert [part for part in found if part.kernel_size == (1, 1) and part.in_channels < 8] == []


def test_make_trains_a_toy_of_every_family() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    listed = re.findall(r"^FAMILIES := (.*)$", makefile, re.M)[0].split()
    assert sorted(listed) == sorted(FAMILIES)
    assert all(find_preset(family, "smoke").panel is None for family in listed)


def sizes(name: str) -> dict[str, Any]:
    return dict(find_preset("lrdif", name).network)


def test_the_papers_recipe() -> None:
    """Its numbers (2402.00250, section 4.2) and its equations, on the sizes of LRDif-S."""
    recipe = find_preset("lrdif", "paper")
    assert [stage.name for stage in recipe.stages] == ["points", "s1", "s2"]
    for stage in recipe.stages[1:]:
        assert (stage.optimizer, stage.lr, stage.weight_decay) == ("adam", 3.5e-4, 1e-4)
        assert (stage.batch, stage.epochs) == (64, 100)
    own = {"norm": False, "zero_snr": False, "param": "eps", "insert_noise": True}
    own["class_alone"] = True
    assert sizes("paper") == sizes("s") | own
    assert recipe.objective == {"kl": 1, "tau": 1, "l1": 0}


def test_the_brief_paper_is_the_lean_network_with_the_papers_method() -> None:
    paper, brief, own = (
        find_preset("lrdif", f"{name}-udc") for name in ("paper", "brief-t4", "paper-brief")
    )
    assert own.objective == paper.objective
    assert own.stages == brief.stages
    method = ("norm", "zero_snr", "param", "insert_noise", "class_alone")
    lean = {name: value for name, value in brief.network.items() if name != "steps"}
    assert own.network == lean | {name: paper.network[name] for name in method}


@pytest.mark.parametrize("name", ["paper", "paper-brief", "paper-brief-udc"])
def test_rows_of_table_5_differ_by_one_thing_from_the_third(name: str) -> None:
    udc = "-udc" if name.endswith("-udc") else ""
    paper, name = find_preset("lrdif", name), name.removesuffix("-udc")
    one, two, three, four = (find_preset("lrdif", f"{name}-v{row}{udc}") for row in (1, 2, 3, 4))
    assert three == paper
    assert one == replace(paper, network=paper.network | {"restorer": "none"})
    assert two == replace(paper, objective={"kl": 0, "tau": 1, "l1": 0})
    assert four == replace(paper, network=paper.network | {"insert_noise": False})
    beside = find_preset("lrdif", f"{name}-r1{udc}")
    assert beside == replace(paper, network=paper.network | {"restorer": "mlp"})


@pytest.mark.parametrize("seen", ["", "-udc"])
def test_controls_differ_in_the_restorer_alone(seen: str) -> None:
    lean = find_preset("lrdif", f"cpu{seen}")
    assert find_preset("lrdif", f"cpu-ce{seen}") == replace(
        lean, objective={"kl": 0, "tau": 1, "l1": 0}
    )
    noisy = replace(lean, network=lean.network | {"insert_noise": True})
    assert find_preset("lrdif", f"cpu-noise{seen}") == noisy
    for restorer in ("mlp", "none"):
        control = find_preset("lrdif", f"cpu-{restorer}{seen}")
        assert control == replace(lean, network=lean.network | {"restorer": restorer})
    for steps in (1, 2, 4, 8, 16, 32):
        swept = find_preset("lrdif", f"cpu-t{steps}{seen}")
        assert swept == replace(lean, network=lean.network | {"steps": steps})
        points, s1, s2 = swept.stages
        brief = replace(swept, stages=(points, s1, replace(s2, epochs=8)))
        assert find_preset("lrdif", f"brief-t{steps}{seen}") == brief
        with torch.device("meta"):
            diffusion = LRDif(8, **swept.network).diffusion
        assert (diffusion.steps, diffusion.alpha_bars[-1]) == (steps, 0)


@pytest.mark.parametrize("seen", ["", "-udc"])
def test_rivals_take_the_same_steps_of_the_same_faces(seen: str) -> None:
    equal = find_preset("resnet18", f"w32-40{seen}")
    for name, width in (("w35", 35), ("w48", 48), ("w64", 64)):
        network = {"width": width, "stem_stride": 1, "dropout": 0.3}
        assert find_preset("resnet18", f"{name}-40{seen}") == replace(equal, network=network)
    for name, changes in (
        ("eac", {"augment": replace(equal.augment, erase_px=(7, 24))}),
        ("scn", {}),
        ("rul", {"network": equal.network | {"dropout": 0.4}}),
    ):
        rival = replace(equal, objective={"name": name}, **changes)
        assert find_preset("resnet18", f"{name}-40{seen}") == rival


@pytest.mark.parametrize("seen", ["", "-udc"])
def test_every_model_is_there_with_displays_and_without(seen: str) -> None:
    for model, name in list_presets():
        if "smoke" not in name and name not in ("w32", "w32-plain") and "-udc" not in name:
            recipe, clean = find_preset(model, f"{name}{seen}"), find_preset(model, name)
            start = f"{clean.encoder}{seen}" if clean.encoder in zoo_names() else clean.encoder
            panel = RandomPanel() if seen else None
            assert recipe == replace(clean, panel=panel, encoder=start)


def test_clean_twin_presets_differ_in_one_thing_and_have_a_baseline() -> None:
    twin = find_preset("lrdif", "twin-udc")
    assert (twin.encoder, twin.objective["teacher"]) == ("resnet18-w36-udc", "resnet18-w36")
    assert twin.panel == RandomPanel()
    label = replace(twin, objective=twin.objective | {"label": 0.25})
    assert find_preset("lrdif", "twin-label-udc") == label
    for restorer in ("mlp", "none"):
        control = replace(twin, network=twin.network | {"restorer": restorer})
        assert find_preset("lrdif", f"twin-{restorer}-udc") == control
    plain = find_preset("resnet18", "w36-tune-udc")
    assert plain.stages == (replace(twin.stages[1], name="fit", epochs=8),)
    assert sum(stage.epochs for stage in twin.stages) == 8
    for setting in ("encoder", "panel", "augment", "with_dropped"):
        assert getattr(plain, setting) == getattr(twin, setting)


def gmac(network: nn.Module, *inputs: Tensor) -> float:
    counter = FlopCounterMode(display=False)
    with counter:
        network(*inputs)
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("size", "rival"), [("cpu", "w36-40"), ("s", "w35-120")])
def test_a_rival_of_as_many_multiply_adds(size: str, rival: str) -> None:
    with torch.device("meta"):
        face = torch.empty(1, 1, 48, 48)
        ours = gmac(LRDif(8, **sizes(size)), face, torch.empty(1, 128))
        theirs = gmac(ResNet18(8, **find_preset("resnet18", rival).network), face)
    assert theirs == pytest.approx(ours, rel=0.04)


def test_lrdif_s_is_of_the_stated_size() -> None:
    with torch.device("meta"):  # shapes alone: nothing is computed
        network = LRDif(8, **sizes("s"))
        cost = gmac(network, torch.empty(1, 1, 48, 48), torch.empty(1, 128))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(5.25e6, rel=0.04)
    assert cost == pytest.approx(0.375, rel=0.04)


@pytest.mark.parametrize(
    ("model", "name", "nearest"),
    [
        ("resnet18", "w32-plan", "w32-plain"),
        ("resnet18", "W36-40-UDC", "w36-40-udc"),
        ("lrdif", "cpu_udc", "cpu-udc"),
        ("poster", "gpu", "cpu"),
    ],
)
def test_an_unknown_preset_names_the_nearest(model: str, name: str, nearest: str) -> None:
    with pytest.raises(OptionError) as raised:
        find_preset(model, name)
    assert f"no such preset: {model} {name}: did you mean {nearest} or " in str(raised.value)
    assert len(str(raised.value)) < 300
    assert raised.value.exit_code == 2


def test_an_unknown_model() -> None:
    models = (
        "no such model to train: resnet99: "
        "give one of drfer, emodc, face-resnet, lrdif, noise-resnet18, poster, resnet18"
    )
    with pytest.raises(OptionError, match=models):
        find_preset("resnet99", "w32")


@pytest.mark.parametrize("variant", ["", "-udc"])
@pytest.mark.parametrize("start", ["cpu", "brief"])
def test_an_old_name_still_finds_its_recipe(start: str, variant: str) -> None:
    old, new = f"{start}-doubt{variant}", f"{start}-label-noise{variant}"
    assert current_name(old) == new
    assert find_preset("lrdif", old) == find_preset("lrdif", new)
    assert find_preset("lrdif", new).objective == {"label_noise": 0.33}
    assert current_name("w32") == "w32"


def test_emodc_evaluates_four_levels_for_a_thousandth_of_the_naive_cost() -> None:
    """The spec's naive EmoDC-S: 100 steps of eight emotions of 0.73 GMAC each."""
    recipe = find_preset("emodc", "multi")
    with torch.device("meta"):
        network = EmoDC(8, **recipe.network)
        cost = network.steps * gmac(network, torch.empty(1, 1, 48, 48), torch.empty(1))
    assert network.steps == 4
    assert cost < 0.6
    assert 100 * 8 * 0.73 / cost > 1000


def test_emodc_and_its_baseline_share_their_first_stage() -> None:
    for seen in ("", "-udc"):
        baseline, ours = (
            find_preset("noise-resnet18", f"w36-20{seen}"),
            find_preset("emodc", f"multi{seen}"),
        )
        assert ours.stages[0] == replace(baseline.stages[0], name="classifier")
        for setting in ("encoder", "panel", "augment", "objective"):
            assert getattr(ours, setting) == getattr(baseline, setting)
        for head in ("split", "cond"):
            network = ours.network | {"head": head}
            assert find_preset("emodc", f"{head}{seen}") == replace(ours, network=network)
            network |= {"condition": "text", "labels": list(EMOTIONS)}
            assert find_preset("emodc", f"{head}-text{seen}") == replace(ours, network=network)
