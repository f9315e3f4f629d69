"""export: weights and codes that other programs read are those of the trained model."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
from safetensors import safe_open

import vaejax as vj
from tests import explored, tiny
from tests.conv_nets import CONV

CONFIGS = {
    **explored.EXPLORED,
    "tanh": {"likelihood": "gaussian", "output": "tanh", "pixel_range": "signed",
             "encoder_activation": "relu", "decoder_activation": "tanh"},
}  # fmt: skip
"""Every activation and every output; the widths of the decoder, if not given, are (400,)."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run of two lanes with drawn weights."""
    folder = tmp_path_factory.mktemp("made") / "z3"
    explored.make(folder, seeds=(4, 6), **explored.EXPLORED["mlp"])
    return folder


def params_of(folder: Path, lane: int, nets: vj.Nets | None = None) -> Any:
    return vj.measure.lane_of(vj.store.restore(folder, nets).state.params, lane)


def test_weights_and_settings_are_those_of_the_lane(made, tmp_path) -> None:
    lane = 1
    for kind in ("npz", "safetensors"):
        tiny.command("export", made, "--format", kind, "--lane", lane, "--out", tmp_path)
    with np.load(tmp_path / f"lane{lane}-weights.npz", allow_pickle=False) as found:
        arrays = dict(found)
    about = json.loads(str(arrays.pop("description")))
    path = tmp_path / f"lane{lane}-weights.safetensors"
    same = safetensors.numpy.load_file(path)
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["description"]) == about
    assert about["lanes"] == [vj.store.checkpoint.read_run(made).lanes[lane]]
    assert (about["images"]["dataset"], about["steps"]) == ("digits", 1)
    params = params_of(made, lane)
    leaves = jax.tree.leaves(params)
    assert len(leaves) == len(arrays) == len(same)
    for name, array in arrays.items():
        leaf = params
        for part in name.split("."):
            leaf = leaf[part]
        np.testing.assert_array_equal(array, leaf)
        np.testing.assert_array_equal(same[name], leaf)


@pytest.mark.parametrize("name", CONFIGS)
def test_onnx_computes_what_the_model_does(name: str, tmp_path) -> None:
    trained = explored.make(tmp_path / "z3", **CONFIGS[name])
    tiny.command("export", tmp_path / "z3", "--format", "onnx")
    config, params = trained.run.config, params_of(tmp_path / "z3", 0)
    x = np.random.default_rng(0).uniform(size=(7, 64)).astype(np.float32)
    sessions = {}
    for net in ("encoder", "decoder"):
        path = tmp_path / "z3" / f"lane0-{net}.onnx"
        whole = onnx.load(path)
        onnx.checker.check_model(whole, full_check=True)
        (about,) = whole.metadata_props
        assert json.loads(about.value)["config"]["latent_size"] == 3
        sessions[net] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    posterior = jax.jit(vj.model.encode, static_argnums=0)(config, params, x)
    parts = sessions["encoder"].run(None, {"x": x})
    assert len(parts) == (1 if config.model == "ae" else 2)
    for part, wanted in zip(parts, posterior, strict=False):
        np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-5)
    (output,) = sessions["decoder"].run(None, {"z": parts[0]})
    logits = jax.jit(vj.model.decode, static_argnums=0)(config, params, posterior.mean)
    wanted = vj.model.mean_image(config, logits)
    np.testing.assert_allclose(output, wanted, rtol=1e-5, atol=1e-5)


def test_exported_codes_are_diagnosed_as_the_model_is(made, tmp_path, capsys) -> None:
    """`inspect_checkpoint` has the same figures from the model itself."""
    tiny.command("export", made, "--codes", "train", "test", "--lane", 1, "--out", tmp_path)
    codes = vj.exchange.codes.read(tmp_path / "lane1-test.npz")
    assert sorted(codes.unused) == ["labels", "neg_elbo_nats", "recon_nats"]
    found = tiny.page("diagnose").measured(codes)
    test = vj.data.load("digits", "test").images.reshape(-1, 64)
    trained = vj.study.chosen_lane(vj.store.restore(made), 1)
    config, params = trained.run.config, trained.state.params
    figures = vj.measure.collapse_figures(config, params, test, vj.study.evaluation_key())
    names = ("kl_nats", "kl_per_unit_nats", "mean_variance_per_unit", "active_units")
    for name in (*names, "active_directions", "mi_ceiling_nats"):
        np.testing.assert_allclose(found[name], figures[name][0], rtol=1e-4, err_msg=name)
    for name in ("mi_nats", "output_variance_ratio", "mean_distance", "code_distance"):
        np.testing.assert_allclose(found[name], figures[name][0], rtol=0.2, atol=0.1, err_msg=name)
    verdicts = [
        vj.measure.judge_collapse(each).verdict for each in (found, vj.measure.lane_of(figures, 0))
    ]
    assert verdicts[0] == verdicts[1]
    assert len(vj.exchange.codes.read(tmp_path / "lane1-train.npz").mean) == len(
        vj.data.load("digits", "train").labels
    )


def test_codes_as_csv_are_the_same_numbers(made, tmp_path) -> None:
    for kind in ("npz", "csv"):
        more = ["--codes-format", kind, "--images", 9, "--out", tmp_path]
        tiny.command("export", made, "--codes", "test", *more)
    names, *_ = (tmp_path / "lane0-test.csv").read_text().splitlines()
    units = "mean_0,mean_1,mean_2,logvar_0,logvar_1,logvar_2"
    assert names == f"label,neg_elbo_nats,recon_nats,{units}"
    table = np.loadtxt(tmp_path / "lane0-test.csv", delimiter=",", skiprows=1)
    with np.load(tmp_path / "lane0-test.npz") as found:
        assert len(found["mean"]) == 9
        assert found["x"].shape == found["x_mean"].shape == (9, 8, 8, 1)
        np.testing.assert_array_equal(table[:, 0], found["labels"])
        np.testing.assert_array_equal(np.float32(table[:, 1]), found["neg_elbo_nats"])
        np.testing.assert_array_equal(np.float32(table[:, 3:6]), found["mean"])
        np.testing.assert_array_equal(np.float32(table[:, 6:]), found["logvar"])


def test_new_images_have_codes_and_a_score_in_the_order_of_their_files(
    made, tmp_path, capsys
) -> None:
    """The score of a test image is as exported with the others; noise is less like digits."""
    test = vj.data.load("digits", "test").images[:30, ..., 0]
    noise = np.random.default_rng(0).integers(0, 256, test.shape, np.uint8)
    np.save(tmp_path / "new.npy", np.concatenate([test, noise]))
    flags = [made, "--out", tmp_path, "--images", 60]
    tiny.command("export", *flags, "--codes", "test", "--new", tmp_path / "new.npy")
    with np.load(tmp_path / "lane0-new.npz") as new, np.load(tmp_path / "lane0-test.npz") as known:
        assert new["neg_elbo_nats"].shape == new["recon_nats"].shape == (60,)
        for name in ("x", "mean", "neg_elbo_nats"):
            np.testing.assert_allclose(new[name][:30], known[name][:30], rtol=1e-5, atol=1e-5)
        kl = new["neg_elbo_nats"] - new["recon_nats"]
        formula = np.square(new["mean"]) + np.exp(new["logvar"]) - 1 - new["logvar"]
        np.testing.assert_allclose(kl, formula.sum(-1) / 2, rtol=1e-3, atol=1e-3)
    np.save(tmp_path / "one.npy", test[:1] > 99)  # a single image, of black and white
    tiny.command("export", made, "--out", tmp_path, "--new", tmp_path / "one.npy")
    np.save(tmp_path / "large.npy", np.tile(test, (1, 2, 2)))
    text = tiny.fail(capsys, "export", made, "--new", tmp_path / "large.npy")
    assert "large.npy are of [16, 16, 1], height, width and channels" in text
    assert "--white goes with --new" in tiny.fail(capsys, "export", made, "--white", 1)


def test_images_that_have_moved_are_named_and_a_file_is_no_folder(tmp_path, capsys) -> None:
    images = {split: vj.data.load("digits", split).images for split in ("train", "test")}
    np.savez(tmp_path / "a.npz", x_train=images["train"], x_test=images["test"])
    folder = tmp_path / "z3"
    explored.make(folder, images=vj.Images("a", path=str(tmp_path / "gone.npz")))
    codes = ["export", folder, "--codes", "test"]
    assert "There is no" in tiny.fail(capsys, *codes)
    tiny.command(*codes, "--dataset", tmp_path / "a.npz")
    with np.load(folder / "lane0-test.npz") as found:
        np.testing.assert_allclose(found["x"] * 255, images["test"], atol=1e-4)
    text = tiny.fail(capsys, *codes, "--dataset", tmp_path / "a.npz", "--out", tmp_path / "a.npz")
    assert f"{tmp_path / 'a.npz'} is in a file or is one: choose another --out" in text
    assert "space" not in text


def test_an_ae_has_codes_and_no_log_variances(tmp_path, capsys) -> None:
    explored.make(tmp_path / "ae", **explored.EXPLORED["ae"])
    tiny.command("export", tmp_path / "ae", "--codes", "test", "--images", 9)
    path = tmp_path / "ae" / "lane0-test.npz"
    text = tiny.fail(capsys, "diagnose", path)
    assert "has no logvar; it has mean, recon_nats, x, x_mean, labels" in text


def test_nets_of_ones_own_are_written_but_not_as_onnx(tmp_path, capsys) -> None:
    folder = tmp_path / "conv"
    explored.make(folder, nets=CONV)
    flags = [folder, "--nets", "tests.conv_nets:CONV"]
    tiny.command("export", *flags, "--format", "npz")
    with np.load(folder / "lane0-weights.npz") as found:
        kernel = params_of(folder, 0, CONV)["encoder"]["params"]["Conv_0"]["kernel"]
        np.testing.assert_array_equal(found["encoder.params.Conv_0.kernel"], kernel)
    text = tiny.fail(capsys, "export", *flags, "--format", "onnx")
    assert "these nets are conv: use --format npz or safetensors" in text
    assert not list(folder.glob("*.onnx"))
    assert "--nets MODULE:NAME" in tiny.fail(capsys, "export", folder, "--format", "npz")


def test_what_cannot_be_written_is_one_line(made, tmp_path, capsys, monkeypatch) -> None:
    def failing(*flags: Any) -> str:
        text = tiny.fail(capsys, "export", *flags, "--out", tmp_path)
        assert len(text.splitlines()) == 1
        return text

    npz = [made, "--format", "npz"]
    assert "lanes 0 to 1" in failing(*npz, "--lane", 2)
    assert "Nothing to write" in failing(made)
    assert "no config.json" in failing(tmp_path, "--format", "npz")
    assert "--codes ('test', 'test')" in failing(made, "--codes", "test", "test")
    assert "No module named 'nowhere'" in failing(*npz, "--nets", "nowhere:CONV")
    assert "is a int, not" in failing(*npz, "--nets", "tests.conv_nets:CHANNELS")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for kind, package in (("onnx", "onnx"), ("safetensors", "safetensors")):
        text = failing(made, "--format", kind)
        assert f"{package} is not installed: python -m pip install {package}" in text
    assert not list(tmp_path.iterdir())
