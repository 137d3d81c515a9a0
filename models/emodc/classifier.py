"""EmoDC as a classifier: noise is added to a face at a few levels, and the emotion under which the
network predicts it best is the prediction.

`export` also serves its baseline, `models.emodc.noisy_copies.NoiseResNetClassifier`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.emodc.encoder import NoiseResNet18
from models.emodc.levels import QualityLevels
from models.emodc.network import EmoDC
from models.emodc.noise import ABOVE_OWN, bin_of, noise_errors, relative_errors, timesteps
from models.emodc.noisy_copies import AT_ONCE, NoisyClassifier, add_noise, mean_logits, noise_in
from models.emodc.pruning import (
    Tally,
    check_steps,
    drop_by_test,
    evaluate_all,
    halve,
    halving_rounds,
)
from models.errors import ModelError
from models.serving import logits_from_errors
from models.weights import ModelCard

RULES = ("all", "halving", "paired-test")


class EmoDCClassifier(NoisyClassifier):
    """The emotion under whose description the noise is predicted best, over the levels by the
    network's scale and weights, and by the prior where it was fitted.

    `rule`: which emotions are evaluated at which levels, `all` or one of `models.emodc.pruning`,
    for the head `cond`. A face is compared with itself denoised unless `own_noise` says otherwise:
    of a noisy one the emotion that denoises best would else have the largest error. Raises
    ValueError for one with another head: it has nothing to save.
    """

    _network: EmoDC

    def __init__(
        self, network: EmoDC, card: ModelCard, flip: bool = True, device: str = "cpu",
        dtype: torch.dtype = torch.float32, rule: str = "all", own_noise: str = "denoise",
        **options: Any,
    ) -> None:  # fmt: skip
        if rule not in RULES or (rule != "all" and network.head != "cond"):
            what = f"rule {rule!r} with the head {network.head}"
            raise ValueError(f"{what}: give {', '.join(RULES)}, and others than all to cond only")
        options |= {"own_noise": own_noise}
        super().__init__(network, network.encoder, card, flip, device, dtype, **options)
        self.mode = self.mode.replace(card.model, f"{card.model}-{network.head}", 1)
        if network.head != "multi":
            self._at_once = max(AT_ONCE // network.classes, 1)
        self.by_quality = network.quality is not None
        """Whether the levels are those of the network's table, where it has as many."""
        self._rule, self._emotions = rule, torch.arange(network.classes, device=device)

    def classify(self, x: Tensor, noise: Tensor) -> Tensor:
        """Minus the mean over the levels of the weighted errors, and the prior."""
        sigma, own = self.levels(x)
        weights = self._weights(x, sigma)
        clean = self.denoise(x, own) if self._own_noise == "denoise" else x
        if self._rule != "all":
            return self._classify_pruned(x, clean, sigma, own, noise, weights)
        each = []
        for steps in self.batches(len(x)):
            errors = self._relative_errors(x, clean, sigma[steps], own, noise[steps])
            each.append(errors.view(-1, len(x), errors.shape[1]) * weights[steps][:, :, None])
        mean = x.new_full((self.steps,), 1 / self.steps)
        return logits_from_errors(torch.cat(each), mean) + self._network.log_prior

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the table by the faces' quality where there is one, none below what a face has
        of its own; evenly in log sigma otherwise."""
        sigma, own = super().levels(x)
        table = self._table()
        if table is not None:
            sigma = torch.maximum(table.levels[table.find_cells(x)].T.to(own), ABOVE_OWN * own)
        return sigma, own

    def _table(self) -> QualityLevels | None:
        """The network's table, where it is fitted and of as many steps."""
        table = self._network.quality if self.by_quality else None
        if table is None or not table.is_fitted or table.levels.shape[1] != self.steps:
            return None
        return table

    def denoise(self, x: Tensor, own: Tensor) -> Tensor:
        """Faces without the noise `own` (n,), in one step, under no description. Those
        with too little to raise their noise levels stay as they are."""
        noisy, clean = ABOVE_OWN * own > self.low, x.clone()
        if noisy.any():
            of, level = x[noisy], own[noisy]
            empty = torch.tensor([self._network.classes], device=x.device)
            self.count(len(of), 1, of[:1], level[:1], empty)
            predicted = self._network(of, level, empty)[:, 0].float()
            clean[noisy] = of - level[:, None, None, None] * predicted
        return clean

    def _relative_errors(
        self, x: Tensor, clean: Tensor, sigma: Tensor, own: Tensor, noise: Tensor
    ) -> Tensor:
        """Errors (steps n, K) of some levels, less those of the first emotion."""
        noisy, level = add_noise(x, sigma, own, noise), sigma.flatten()
        evaluations = self._network.classes if self._network.head == "cond" else 1
        self.count(len(noisy), evaluations, noisy[:1], level[:1], self._emotions)
        predicted = self._network(noisy, level, self._emotions)
        return relative_errors(noise_in(noisy, clean, sigma), predicted)

    def _classify_pruned(
        self, x: Tensor, clean: Tensor, sigma: Tensor, own: Tensor, noise: Tensor, weights: Tensor
    ) -> Tensor:
        """The same where unlikely emotions are dropped: theirs are the differences so far."""

        def evaluate(step: int, active: Tensor) -> Tensor:
            noisy = add_noise(x, sigma[step, None], own, noise[step, None])
            target = noise_in(noisy, clean, sigma[step, None])
            faces, emotions = active.nonzero(as_tuple=True)
            errors = x.new_full(active.shape, torch.nan, dtype=torch.float32)
            for part in torch.split(torch.arange(len(faces)), AT_ONCE):
                rows, under = faces[part].to(x.device), emotions[part].to(x.device)
                level = sigma[step, rows]
                self.count(len(rows), 1, noisy[:1], level[:1], self._emotions[:1])
                predicted = self._network.predict_under(noisy[rows], level, under)
                found = noise_errors(target[rows], predicted[:, None])[:, 0]
                errors[rows, under] = found * weights[step, rows]
            return errors.cpu()

        tally = Tally(evaluate, self.steps, len(x), self._network.classes)
        if self._rule == "halving":
            halve(tally, halving_rounds(self.steps, self._network.classes))
        else:
            drop_by_test(tally, check_steps(self.steps))
            evaluate_all(tally)
        return self._network.log_prior - tally.excess().to(x.device)

    def _weights(self, x: Tensor, sigma: Tensor) -> Tensor:
        """By which mean squared errors at noise levels sigma (steps, n) become logits."""
        table = self._table()
        if table is None:
            weights = self._network.timestep_weights[bin_of(sigma)]
        else:
            weights = table.weights[table.find_cells(x)].T
        return (weights * self._network.scale(sigma)).float() * x[0].numel()


class _WithNoiseInput(nn.Module):
    """A network with the noise of its steps as an input (n, steps, c, h, w): logits, but for what
    is done about the noise that a face already has."""

    def __init__(self, network: EmoDC | NoiseResNet18) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        network = self.network
        encoder = network.encoder if isinstance(network, EmoDC) else network
        low = torch.tensor([encoder.low])
        each = []
        for step, level in enumerate(timesteps(encoder.steps, low, encoder.high)[:, 0].tolist()):
            sigma, eps = x.new_full((x.shape[0],), level), noise[:, step]
            if isinstance(network, EmoDC):
                predicted = network(x + level * eps, sigma, torch.arange(network.classes))
                number = bin_of(torch.tensor(level))
                weight = network.timestep_weights[number] * network.log_scale[number].exp()
                pixels = x.shape[1] * x.shape[2] * x.shape[3]
                each.append(relative_errors(eps, predicted) * weight * pixels)
            else:
                each.append(network(x + level * eps, sigma))
        if isinstance(network, EmoDC):
            return network.log_prior - torch.stack(each).mean(dim=0)
        return mean_logits(torch.stack(each))


def export(network: nn.Module, card: ModelCard, n: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """What `models.export` traces: the network with its noise as an input, and that for n faces.

    The graph ignores the noise and the quality of a face. Raises ModelError for heads that evaluate
    emotions one by one: their graph would hold the network as often.
    """
    if not isinstance(network, EmoDC | NoiseResNet18):
        raise TypeError(f"expected EmoDC, got {type(network).__name__}")
    if isinstance(network, EmoDC) and network.head != "multi":
        remedy = "export weights with the head multi"
        raise ModelError(f"the head {network.head} cannot be exported", card.name, remedy)
    shape = (n, network.steps, card.channels, card.input_px, card.input_px)
    noise = np.random.default_rng(1).standard_normal(shape, np.float32)
    return _WithNoiseInput(network), {"noise": torch.from_numpy(noise)}
