"""The command measures the weights that it is given, and the copies that it is told to take."""

from __future__ import annotations

from argparse import Namespace

import pytest

from benchmarks.adversarial import measure
from trainer.compare import adversarial


@pytest.mark.needs("data")
def test_shipped_weights_lose_their_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "STEPS", 3)
    monkeypatch.setattr(adversarial, "STEP_SHARE", 0.5)
    given = Namespace(
        **{"weights": "resnet18-w36", "data": "ferplus:public", "eps": "4", "faces": 10},
        **{"attacks": "fgsm,pgd,eot,transfer", "source": "", "copies": 0, "threads": 1},
    )
    result = measure(given)
    row = result["weights"]["resnet18-w36"]
    assert (result["n"], result["data"]) == (10, "ferplus:public")
    assert list(row["attacks"]) == ["fgsm", "pgd"]  # it draws nothing, and there is no source
    assert row["clean"]["accuracy"] >= 0.7
    assert row["attacks"]["pgd"]["4"]["accuracy"] <= 0.3
