"""explore: what the page holds is what was trained, measured and predicted; it is one file."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import vaejax as vj
from tests import explored, tiny
from tests.conv_nets import CONV

exploration = vj.explorer.exploration


def page_of(folder: Path, **choices: Any) -> dict[str, Any]:
    """The data of the page of a folder."""
    return exploration.explore(folder, exploration.choose(folder, **choices), 20).page


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A study of two runs with drawn weights: a VAE of two seeds and an AE."""
    folder = tmp_path_factory.mktemp("made") / "study"
    explored.make(folder / "z3", (5.0, 64.0), (4, 6), **explored.EXPLORED["mlp"])
    explored.make(folder / "ae-z3", seeds=(4, 6), **explored.EXPLORED["ae"])
    return folder


def test_the_page_has_the_figures_of_the_study(finished) -> None:
    folder = finished("recon_scale")
    rows = [row for row in tiny.rows_of(folder) if row["seed"] == 0]
    (part,) = page_of(folder)["parts"]
    assert [model["recon_scale"] for model in part["models"]] == [1, 6000]
    for model, row in zip(part["models"], rows, strict=True):
        assert (model["lane"], model["seed"]) == (row["lane"], 0)
        for name in ("kl_nats", "mse", "kl_per_unit_nats", "effective_sigma"):
            assert model[name] == pytest.approx(row[name], rel=1e-4, abs=1e-6), name
        assert model["variance_per_unit"] == pytest.approx(
            row["mean_variance_per_unit"], rel=1e-4, abs=1e-7
        )
        assert model["active_units"] == row["active_units"]
        assert model["units_that_pay"] == row["units_that_pay"]
        assert part["theory"]["thresholds"][0] == pytest.approx(row["threshold_scale"])


def test_the_page_has_the_predictions_of_the_theory_where_the_kl_is_charged(made, tmp_path) -> None:
    autoencoder, part = page_of(made)["parts"]
    assert (autoencoder["run"], part["run"]) == ("ae-z3", "z3")
    images = vj.data.load("digits", "train").images.reshape(-1, 64)
    config = vj.store.checkpoint.read_run(made / "z3").config
    thresholds = vj.theory.thresholds(config, images, 3)
    assert part["theory"]["thresholds"] == pytest.approx(thresholds)
    for model in part["models"]:
        where = thresholds, model["recon_scale"], 1.0, 3
        total = vj.theory.predicted_kl(*where)
        np.testing.assert_allclose(sum(model["predicted_kl_per_unit"]), total)
        assert model["predicted_units"] == vj.theory.predicted_units(*where)
    assert part["models"][0]["predicted_kl_per_unit"] == [0, 0, 0]
    curve = part["theory"]["curve"]
    index = len(curve["scale"]) // 2
    expected = vj.theory.predicted_kl(thresholds, curve["scale"][index], 1.0, 3)
    np.testing.assert_allclose(curve["kl"][index], expected)
    assert autoencoder["theory"] is None
    assert autoencoder["models"][0]["predicted_units"] is None
    assert autoencoder["models"][0]["kl_nats"] is None
    run = vj.store.checkpoint.read_run(made / "z3")
    knobs = run.knobs._replace(free_bits=np.full(len(run.seeds), 0.5, np.float32))
    explored.write(tmp_path / "z3", replace(run, knobs=knobs))
    assert page_of(tmp_path)["parts"][0]["theory"] is None


def test_a_learned_variance_has_a_threshold_and_no_predicted_kl(tmp_path) -> None:
    choices: dict[str, Any] = {"likelihood": "gaussian", "decoder_variance": "learned"}
    explored.make(tmp_path / "z3", encoder_widths=(), decoder_widths=(), **choices)
    (part,) = page_of(tmp_path)["parts"]
    assert part["theory"]["thresholds"]
    assert part["theory"]["curve"] is None
    assert part["models"][0]["predicted_kl_per_unit"] is None
    assert part["models"][0]["decoder_sigma"] > 0


def test_the_weights_are_those_of_the_checkpoint_if_float16_holds_them(made) -> None:
    trained = vj.store.restore(made / "z3")
    config, params = trained.run.config, vj.measure.lane_of(trained.state.params, 0)
    last = params["decoder"]["params"]["Dense_1"]
    ends = [params["encoder"]["params"]["Dense_0"]["kernel"].ravel(), last["bias"]]
    losses: dict[Literal["float16", "float32"], float] = {"float16": 2**-11, "float32": 0}
    for kind, loss in losses.items():
        text = exploration.weights_text(config, params, kind)
        numbers = np.frombuffer(base64.b64decode(text), exploration.WEIGHT_TYPES[kind])
        assert len(numbers) == vj.parallel.memory.parameters(config)
        found = numbers[: ends[0].size], numbers[-ends[1].size :]
        for stored, weights in zip(found, ends, strict=True):
            np.testing.assert_allclose(stored, weights, rtol=loss, atol=1e-7 * (loss > 0))
    last["bias"] = np.full(64, 1e5, np.float32)
    with pytest.raises(vj.LabError, match="--weights float32"):
        exploration.weights_text(config, params, "float16")


def test_lanes_of_one_part_differ_in_their_scale_alone() -> None:
    config = vj.Config(image_shape=(8, 8, 1))
    settings = [(60.0, 0.0), (1.0, 0.0), (1.0, 50.0), (1.0, 0.0)]
    lanes = [vj.knobs(config, recon_scale=scale, kl_warmup=steps) for scale, steps in settings]
    run = vj.Run(
        "z10", vj.Images("digits"), config, vj.stack([*lanes, *lanes]), (0,) * 4 + (1,) * 4
    )
    parts = exploration.parts_of(Path("z10"), run, 1)
    assert {part.name: part.lanes for part in parts} == {
        "z10, kl_warmup 0": (5, 4),
        "z10, kl_warmup 50": (6,),
        "z10, kl_warmup 0, repetition 2": (7,),
    }


def test_a_seed_and_runs_are_chosen(made) -> None:
    chosen = exploration.choose(made)
    assert {(part.name, part.lanes) for part in chosen.parts} == {("z3", (0, 2)), ("ae-z3", (0,))}
    (part,) = exploration.choose(made, seed=6, runs=("z3",)).parts
    assert part.lanes == (1, 3)
    (part,) = exploration.choose(made / "z3", seed=6).parts
    assert part.lanes == (1, 3)


def test_the_strip_has_an_image_of_each_class() -> None:
    labels = np.array([3, 3, 1, 0, 1, 3, 0, 0, 0, 0, 0, 0])
    assert exploration.strip(labels) == [3, 2, 0, 1, 4, 5, 6, 7, 8, 9]


def test_what_diverged_or_is_unfinished_is_left_out_and_named(made, tmp_path) -> None:
    trained = vj.store.restore(made / "z3")
    explored.write(tmp_path / "z3", trained.run, diverged=(0,))
    vj.store.checkpoint.create(tmp_path / "begun", replace(trained.run, name="begun"))
    found = page_of(tmp_path)
    assert [model["lane"] for model in found["parts"][0]["models"]] == [2]
    assert "begun: holds no checkpoint yet" in found["left_out"][0]
    assert "z3, recon_scale 5: this model diverged" in found["left_out"][1]
    explored.write(tmp_path / "other" / "z3", trained.run, diverged=(0, 1, 2, 3))
    with pytest.raises(vj.LabError, match=r"nothing to explore.*diverged.*--seed"):
        page_of(tmp_path / "other")


def test_binarized_images_are_drawn_once(tmp_path) -> None:
    explored.make(tmp_path / "z3", binarize=True, encoder_widths=(), decoder_widths=())
    found = page_of(tmp_path)
    assert found["parts"][0]["pictures"] == "drawn"
    assert set(base64.b64decode(found["pictures"]["drawn"])) == {0, 255}
    assert "grey" not in found["pictures"]


def test_what_cannot_be_shown_is_refused(made, tmp_path, capsys) -> None:
    def fail(*flags: Any) -> str:
        return tiny.fail(capsys, "explore", *flags)

    assert "no config.json" in fail(tmp_path)
    assert "--runs z4" in fail(made, "--runs", "z4")
    assert "the seeds of" in fail(made, "--seed", 9)
    assert "--images 1" in fail(made, "--images", 1)
    config = vj.Config(image_shape=(8, 8, 1), nets=CONV)
    run = vj.Run("own", vj.Images("digits"), config, vj.stack([vj.knobs(config)]), (0,))
    vj.store.checkpoint.create(tmp_path / "own", run)
    text = fail(tmp_path / "own")
    assert CONV.name in text
    assert "vj.store.restore" in text


def test_the_page_is_one_file_that_asks_for_nothing(made, capsys) -> None:
    capsys.readouterr()
    tiny.command("explore", made, "--images", 30)
    assert "3 models" in capsys.readouterr().out
    text = (made / "explore.html").read_text()
    assert set(re.findall(r"\w+://[^\s\"'`]+", text)) == {"http://www.w3.org/2000/svg"}  # a name
    assert not re.search(r"\b(import|fetch|XMLHttpRequest|WebSocket)\b\s*\(", text)
    assert re.findall(r"\b(?:src|href)=\"([^\"]*)\"", text) == ["data:,"]
    assert not re.search(r"url\(|@import", text)
    block = re.search(r'id="page">(.*?)</script>', text, re.DOTALL)
    assert block
    assert len(json.loads(block[1])["labels"]) == 30


def test_what_a_folder_is_called_cannot_end_the_data() -> None:
    page = {"folder": "</script><b>", "dataset": "digits"}
    text = vj.explorer.page.explorer_page(page, {})
    assert "</script><b>" not in text
    assert "&lt;/script&gt;&lt;b&gt; (digits)" in text
