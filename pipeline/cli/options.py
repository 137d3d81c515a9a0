"""The options that several commands share, one definition each, and their names of one release ago.

A command takes them as annotations: `def evaluate(weights: Weights, as_json: AsJson = False)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

MOST_SECONDS = 10_000_000.0
"""Four months."""
MOST_FACES = 10_000_000
MOST_SEED = 2**31 - 1
CONDITIONS = "clean, udc_t, udc_p, udc, udc_real, udc_c, fer_nb, or a cell such as udc_p/3"

Seconds = Annotated[float, Option(help="Seconds to run; 0: until Ctrl-C.", min=0, max=MOST_SECONDS)]
Config = Annotated[Path | None, Option("-c", "--config", help="A TOML file.")]
AsJson = Annotated[bool, Option("--json", help="Print one JSON object.")]
AsJsonAtEnd = Annotated[bool, Option("--json", help="Print one JSON object at the end.")]
Weights = Annotated[str, Option(help="A name in the zoo, or a .safetensors file.")]
Data = Annotated[
    str,
    Option(help="Faces: ferplus:public, sheet:IMAGE,LABELS.npz, npz:, csv:, folder:LAYOUT:DIR"),
]
Protocol = Annotated[str, Option(help="From votes to labels: ms_majority or no_drop.")]
Labels = Annotated[
    str,
    Option(
        help="What a face is trained as: `votes`, the share of each; `hard`, its class; "
        "`one-vote`, one of its votes, drawn once; `symmetric:0.2`, its class but for a fifth of "
        "the faces."
    ),
]
Conditions = Annotated[str, Option("--conditions", help=f"{CONDITIONS}; separated by commas.")]
PANELS = "t-oled or p-oled, or as measured on real panels t-oled-real or p-oled-real"
REAL_SEVERITY = "Of a real panel: faces 600, 288, 150, 72 and 56 px wide in a frame of 2048 px."
Detector = Annotated[str, Option(help="centerface, scrfd or yunet.")]
DetectorModel = Annotated[str, Option(help="Path of the detector's network.")]
Fps = Annotated[float | None, Option(help="Frames analysed per second; 0: all.")]
UnderDisplay = Annotated[
    bool | None,
    Option(
        "--under-display/--clear",
        help="Whether the camera is under a display. Default: decided by the noise of its frames.",
    ),
]

OLD_OPTIONS = {
    ("evaluate", "--keep"): "--save-predictions",
    ("evaluate", "--through-video"): "--end-to-end",
    ("train", "--teachers"): "--teacher",
    ("train", "--teach"): "--distill-weight",
}
"""(command, option of the last release) and the option's name now. Accepted for one release."""


def rename_old_options(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments with the options' names of today, and one sentence for each that was old.

    >>> rename_old_options(["evaluate", "--keep=out"])
    (['evaluate', '--save-predictions=out'], ['option --keep: renamed: use --save-predictions'])
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    renamed, messages = [], []
    # What follows `--` are values, whatever they look like.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for word in arguments[:end]:
        option, equals, value = word.partition("=")
        new = OLD_OPTIONS.get((command, option))
        if new:
            messages.append(f"option {option}: renamed: use {new}")
        renamed.append(f"{new or option}{equals}{value}")
    return renamed + arguments[end:], list(dict.fromkeys(messages))
