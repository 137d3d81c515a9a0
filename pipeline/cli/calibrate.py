"""`undercam calibrate`: fit the confidence of weights anew, on labelled faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.cli.options import AsJson, Data, Protocol, Weights
from pipeline.cli.output import ERRORS, print_json


def calibrate(
    weights: Weights,
    out: Annotated[Path, Option(help="The weights to write, .safetensors.")],
    data: Data = "ferplus:cut",
    protocol: Protocol = "ms_majority",
    logit_adjustment: Annotated[
        float,
        Option(
            help="How much of the classes' shares is taken out of the logits: 0: nothing; 1: every "
            "class counts as equally frequent. More of it finds more of the rare expressions. It "
            "comes on top of what the weights have been adjusted by before.",
            min=0,
            max=1,
        ),
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Calibrate weights on labelled faces that they were not trained on, and measure them.

    Confidence becomes accuracy again where your faces differ from those of the training; weights
    for displays are calibrated under simulated ones. The network's other weights stay.
    """
    from models.atomic_files import check_writable
    from models.loading import load_network
    from models.weights import read_card, save
    from trainer.calibration import calibrate_temperature
    from trainer.data.readers import open_faces
    from trainer.measurement import add_metrics, apply_conditions, select_trained_for
    from trainer.prior_adjustment import adjust_prior

    check_writable(out)
    network, card = load_network(weights)
    faces = open_faces(data, protocol)
    conditions = apply_conditions(card, faces)
    trained_for = select_trained_for(conditions)
    if logit_adjustment:
        card = calibrate_temperature(network, card, trained_for)
        card = adjust_prior(network, card, faces, logit_adjustment)
    card = calibrate_temperature(network, card, trained_for)
    split = "validation cut" if data.endswith(":cut") else faces.name
    card = add_metrics(network, card, conditions, split)
    save(out, card, network.state_dict())
    card = read_card(out)
    if as_json:
        summary = {"weights": str(out), "temperature": card.temperature, "metrics": card.metrics}
        print_json(summary)
    else:
        ERRORS.print(f"wrote {out}: temperature {card.temperature:g}")
