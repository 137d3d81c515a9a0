"""`undercam table` on the predictions that lie in the repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.cli.app import run
from trainer.compare.predictions import load_predictions, save_predictions

KEPT = Path(__file__).parents[3] / "docs" / "predictions"


def test_the_shipped_weights_stand_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "--folder", str(KEPT), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    ours = {row["averaging"]: row for row in rows if row["weights"] == "resnet18-w36"}
    assert ours["flip"]["n"] == 3199
    assert 0.86 <= ours["none"]["clean"] <= ours["flip"]["clean"] < 0.9
    assert ours["flip"]["udc"] == pytest.approx(
        (ours["flip"]["udc_t"] + ours["flip"]["udc_p"]) / 2, abs=1e-4
    )


def test_every_name_is_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["table", "--folder", str(KEPT)]) == 0
    shown = capsys.readouterr().out
    assert "resnet18-w36-udc, flip TTA" in shown
    assert "seed 1, 40 epochs, displays" in shown
    assert "…" not in shown
    for name in ("RAF-DB", "RAF-DB compound", "SFEW", "AffectNet 7", "AffectNet 8"):
        assert f"{name}: not run: data set not available" in shown


def test_a_data_set_with_a_row_was_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = load_predictions(next(KEPT.glob("resnet18-w36-ferplus-public-clean_*.npz")))
    about = saved.about | {"data": "folder:affectnet-7:faces"}
    save_predictions(tmp_path, about, "clean", saved.predictions, saved.faces)
    assert run(["table", "--folder", str(tmp_path), "--json"]) == 0
    not_run = json.loads(capsys.readouterr().out)["not_run"]
    assert list(not_run) == ["RAF-DB", "RAF-DB compound", "KDEF", "SFEW", "AffectNet 8"]


def test_a_pair_stands_in_one_row_with_all_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "--folder", str(KEPT)]) == 0
    shown = capsys.readouterr().out.split("Difference in points")[1].splitlines()
    assert ("clean" in shown[2], "udc" in shown[2]) == (True, True)
    below = shown.index(next(line for line in shown if "against poster-cpu-udc" in line))
    assert "lrdif-udc, flip TTA, 3199 faces" in shown[below - 1]
    assert (shown[below - 1].count(" .. "), shown[below].count(" .. ")) == (2, 2)


@pytest.mark.needs("data")
def test_asked_again_the_tables_are_of_the_new_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights that are not shipped cannot be asked, and are left out with the reason."""
    for name in ("resnet18-w36", "lrdif", "poster-cpu"):
        for path in KEPT.glob(f"{name}-ferplus-public-clean_*.npz"):
            shutil.copy(path, tmp_path)
    command = ["table", "--folder", str(tmp_path), "--recompute", "--limit", "60", "--json"]
    assert run(command) == 0
    result = json.loads(capsys.readouterr().out)
    told = {(one["weights"], one["averaging"]): one for one in result["recomputed"]}
    assert "not among the weights" in told["poster-cpu", "flip"]["why_not"]
    asked = {pair: one for pair, one in told.items() if pair[0] != "poster-cpu"}
    assert len(asked) == 4
    for one in asked.values():
        assert (one["n"], one["same_predictions"]) == (60, {"clean": 1.0})
    assert {(row["weights"], row["n"]) for row in result["rows"]} == {
        *(("resnet18-w36", 60), ("lrdif", 60)),
    }
    assert [gain["n"] for gain in result["differences"]] == [60, 60]


def test_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "--folder", str(tmp_path)]) == 3
    assert capsys.readouterr().err.startswith("undercam: no saved predictions: ")
