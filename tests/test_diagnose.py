"""diagnose: the figures and the verdict of arrays, what is said to be missing, and bad files."""

import math
import re
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaejax as vj
from tests import tiny
from tests.test_readme import all_blocks

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "your_codes.md"
KEY = jax.random.key(0)
N, PIXELS = 200, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, PIXELS)).astype(np.float32)
NOISE = RNG.normal(size=(N, 3)).astype(np.float32)
LOGVAR = np.full((N, 3), -2, np.float32)
ALL_DEAD, TWO_DEAD = NOISE * 1e-3, NOISE * np.array([1, 1e-3, 1e-3], np.float32)
HEAVY_TAILS = 0.3 * RNG.standard_t(3, (N, 3))


def with_one(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed[4, 1] = value
    return changed


def snippet(number: int) -> str:
    """The lines of the page that make codes.npz: of PyTorch, of Keras, of JAX."""
    return [block.code for block in all_blocks(PAGE) if block.language == "py"][number]


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("mean", "verdict", "dead", "by_few"),
    [
        (ALL_DEAD, "total", (0, 1, 2), ()),
        (TWO_DEAD, "partial", (1, 2), ()),
        (NOISE, "healthy", (), ()),
        (HEAVY_TAILS, "healthy", (), ()),
        (with_one(NOISE, 1e4), "healthy", (), ()),
        (with_one(ALL_DEAD, 1e4), "total", (0, 1, 2), (1,)),
        (with_one(ALL_DEAD + 3, 1e4), "total", (0, 1, 2), (1,)),
        (with_one(TWO_DEAD, 1e4), "partial", (1, 2), (1,)),
        (0.102 * NOISE / NOISE.std(0), "healthy", (), ()),  # inactive only just without few
    ],
)
def test_the_verdict_needs_nothing_but_means_and_log_variances(mean, verdict, dead, by_few) -> None:
    """And not one row with a wrong number: a unit that is active by it alone is dead."""
    figures = vj.measure.posterior_figures(mean, LOGVAR, KEY)
    found = vj.measure.judge_collapse(figures)
    assert (found.verdict, found.dead_units, found.by_few) == (verdict, dead, by_few)
    assert int(figures["active_units"]) == 3 - len(dead) + len(by_few)
    assert found.headline.endswith("but for a few inputs") == bool(by_few)


def test_figures_of_posteriors_are_those_of_their_formulas() -> None:
    figures = vj.measure.posterior_figures(NOISE, LOGVAR, KEY)
    mean, variance = np.float64(NOISE), math.exp(-2)
    kl = ((mean**2 + variance - 1 + 2) / 2).mean(0)
    np.testing.assert_allclose(figures["kl_per_unit_nats"], kl, rtol=1e-5)
    np.testing.assert_allclose(figures["kl_nats"], kl.sum(), rtol=1e-5)
    np.testing.assert_allclose(figures["mean_variance_per_unit"], mean.var(0), rtol=1e-4)
    assert figures["mi_ceiling_nats"] == pytest.approx(math.log(N))
    # Pairs of drawn codes are sqrt(2 * trace of their covariance) apart, up to the draw.
    assert figures["mean_distance"] == pytest.approx(math.sqrt(2 * mean.var(0).sum()), rel=0.1)
    assert figures["code_distance"] == pytest.approx(
        math.sqrt(2 * (mean.var(0).sum() + 3 * variance)), rel=0.1
    )


def test_outputs_that_ignore_the_code_are_told_from_copies_of_the_input() -> None:
    ignoring = vj.measure.output_figures(X, np.zeros_like(X), None, KEY)
    copying = vj.measure.output_figures(X, X, None, KEY)
    assert ignoring["output_variance_ratio"] == 0
    assert ignoring["shuffled_mse"] == ignoring["reconstruction_mse"] > 0
    assert copying["output_variance_ratio"] == 1
    assert copying["reconstruction_mse"] == 0
    assert copying["shuffled_mse"] == pytest.approx(2 * X.var(0).mean(), rel=0.1)
    given = vj.measure.output_figures(X, X, X + 2, KEY)  # of shuffled codes: as they are
    assert given["shuffled_mse"] == pytest.approx(4, rel=1e-5)
    equal = np.ones_like(X)
    assert np.isnan(vj.measure.output_figures(equal, X, None, KEY)["output_variance_ratio"])


def test_the_command_tells_everything_that_the_arrays_allow(tmp_path, capsys) -> None:
    path = saved(tmp_path / "codes.npz", mean=TWO_DEAD, logvar=LOGVAR, x=X, x_mean=X / 2, labels=X)
    tiny.command("diagnose", path)
    text = " ".join(capsys.readouterr().out.split())
    assert "Posterior collapse: partial" in text
    assert "1 of 3 units are active; dead: 1, 2 (from 0)" in text
    assert "Outputs vary 0.25 times as much as the images" in text
    assert "no x_shuffled: x_mean was shuffled instead of the codes" in text
    assert "the file also holds labels" in text
    assert "could not" not in text


@pytest.mark.parametrize("given", ["", "x", "x_mean"])
def test_what_could_not_be_compared_is_said(given: str, tmp_path, capsys) -> None:
    optional = {given: X} if given else {}
    tiny.command("diagnose", saved(tmp_path / "c.npz", mean=NOISE, logvar=LOGVAR, **optional))
    text = " ".join(capsys.readouterr().out.split())
    for name in ("x", "x_mean"):
        line = f"no {name}: the output variance could not be compared"
        assert (line in text) == (name != given)
    assert "Without both x and x_mean, how much outputs vary could not be compared" in text
    assert "Posterior collapse: healthy" in text


COUNTS = np.float32(RNG.poisson(50, X.shape) * (RNG.random(X.shape) < 0.01))
UNIT = np.abs(X) / np.abs(X).max()
GOOD = {"mean": NOISE, "logvar": LOGVAR, "x": X, "x_mean": X}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"logvar": None}, "has no logvar; it has mean, x, x_mean"),
    ({"mean": NOISE[:, 0]}, "mean has the shape (200,), not [n, z]"),
    ({"logvar": LOGVAR[:, :2]}, "logvar has the shape (200, 2), but mean has (200, 3)"),
    ({"x": X[:9], "x_mean": X[:9]}, "x has the shape (9, 6), but mean has 200 rows"),
    ({"x_mean": X[:, :5]}, "x_mean has the shape (200, 5), but x has (200, 6)"),
    ({"mean": with_one(NOISE, math.nan)}, "unit 1 of mean is nan in row 4, the first of 1"),
    ({"logvar": with_one(LOGVAR, -math.inf)}, "unit 1 of logvar is -inf in row 4"),
    (
        {"logvar": with_one(LOGVAR, 200)},
        "unit 1 of logvar is 200 in row 4, the first of 1 such numbers: has the model diverged? "
        "Numbers up to 80 can be measured with.",
    ),
    ({"x_mean": with_one(X, math.inf)}, "x_mean is inf in row 4"),
    ({"mean": np.array([[None]])}, "Object arrays cannot be loaded"),
    ({"mean": NOISE.astype(str)}, "mean holds <U32, not numbers"),
    ({"x": UNIT * 255, "x_mean": UNIT}, "x reaches 255, and x_mean is in [0, 1]: give all of them"),
    ({"x": UNIT, "x_mean": np.uint8(UNIT * 255)}, "x_mean reaches 255, and x is in [0, 1]"),
    ({"mean": NOISE.reshape(N, 3, 1, 1)}, "(200, 3, 1, 1), not [n, z]: reshape mean and logvar"),
    (
        {"logvar": LOGVAR - 98},
        "unit 0 of logvar is -100 in row 0, the first of 600 such numbers: "
        "such a posterior has no noise. Bound it: logvar.clip(-80",
    ),
    ({"mean": NOISE.astype(np.float16).view("V2")}, "mean holds |V2, not numbers: save bfloat16"),
    ({"mean": NOISE[:0], "logvar": LOGVAR[:0]}, "mean is empty"),
    ({"mean": NOISE[:1], "logvar": LOGVAR[:1], "x": None, "x_mean": None}, "use two or more"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_array_is_one_line(changes, message, tmp_path, capsys) -> None:
    arrays = {name: array for name, array in (GOOD | changes).items() if array is not None}
    text = tiny.fail(capsys, "diagnose", saved(tmp_path / "codes.npz", **arrays))
    assert message in text
    assert ("Numbers up to" in text) == ("Numbers up to" in message)  # not of an infinite one
    assert len(text.splitlines()) == 1


def test_a_decoder_that_ignores_a_code_that_varies_is_in_the_headline(tmp_path, capsys) -> None:
    one_picture, faint = np.repeat(X.mean(0)[None], N, 0), X.mean(0) + 0.2 * (X - X.mean(0))
    ignoring = "The decoder makes no visible use of the code (posterior collapse: healthy)"
    cases = [
        ({"x_mean": one_picture}, ignoring),
        ({"x_mean": X / 2, "x_shuffled": X / 2}, ignoring),
        ({"x_mean": faint}, "Posterior collapse: healthy"),
        ({"x_mean": one_picture, "mean": ALL_DEAD}, "Posterior collapse: total"),
        ({"x": COUNTS, "x_mean": COUNTS * 0 + COUNTS.mean()}, ignoring),
    ]
    for changes, headline in cases:
        tiny.command("diagnose", saved(tmp_path / "c.npz", **(GOOD | changes)))
        assert headline in capsys.readouterr().out.splitlines()


def test_what_is_seldom_meant_is_said(tmp_path, capsys) -> None:
    cases = [
        ({"mean": with_one(NOISE * 1e-3, 1e4)}, "look at row 4, whose mean of unit 1 is 1e+04"),
        ({"mean": with_one(NOISE * 1e-3, 1e4)}, "Posterior collapse: total, but for a few inputs"),
        ({"logvar": np.full((N, 3), 0.3)}, "if they are standard deviations, save 2 * log(sigma)"),
        ({"x": UNIT, "x_mean": np.log(UNIT + 0.01)}, "are they logits"),
        ({"x_mean": X[::-1]}, "or in another order?"),
    ]
    for changes, line in cases:
        tiny.command("diagnose", saved(tmp_path / "c.npz", **(GOOD | changes)))
        assert line in " ".join(capsys.readouterr().out.split())
    tiny.command("diagnose", saved(tmp_path / "c.npz", **(GOOD | {"logvar": LOGVAR * 0})))
    text = " ".join(capsys.readouterr().out.split())
    assert not any(line in text for _, line in cases)


def test_arrays_of_any_float_type_are_measured_alike_in_python_as_by_the_command() -> None:
    def figures(mean: Any, logvar: Any) -> Any:
        return vj.measure.posterior_figures(mean, logvar, KEY)

    rounded = NOISE.astype(jnp.bfloat16)
    expected = figures(rounded.astype(np.float32), LOGVAR)
    for mean in (rounded, jnp.asarray(rounded), rounded.astype(np.float64)):
        for logvar in (LOGVAR, np.float64(-2), LOGVAR[0], LOGVAR[:1], LOGVAR[:, :1]):
            for name, figure in figures(mean, logvar).items():
                np.testing.assert_array_equal(figure, expected[name])
    images, outputs = RNG.integers(0, 256, (2, N, 4, 4, 3), np.uint8)
    mse = vj.measure.output_figures(images, outputs, None, KEY)["reconstruction_mse"]
    assert mse == pytest.approx(np.square(images - np.float64(outputs)).mean(), rel=1e-5)
    with pytest.raises(vj.LabError, match=r"x_mean has .*: give both with their axes in one order"):
        vj.measure.output_figures(images.transpose(0, 3, 1, 2), outputs, None, KEY)
    with pytest.raises(vj.LabError, match="reshape mean and logvar"):
        figures(NOISE[:, None, None], LOGVAR[:, None, None])


def test_a_file_of_another_kind_is_named_as_what_it_is(tmp_path, capsys) -> None:
    whole = saved(tmp_path / "whole.npz", mean=NOISE, logvar=LOGVAR).read_bytes()
    np.save(tmp_path / "one.npy", NOISE)
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
    (tmp_path / "old.pt").write_bytes(b"\x80\x02")
    (tmp_path / "cut.npz").write_bytes(whole[:-100])
    changed = bytearray(whole)
    changed[300] ^= 1
    (tmp_path / "changed.npz").write_bytes(changed)
    messages = {
        "one.npy": "no npz file",
        "model.pt": "no npz file, it holds model/data.pkl: save it with numpy.savez",
        "old.pt": "no npz file",
        "cut.npz": "no npz file, or a damaged one",
        "changed.npz": "damaged",
        "nowhere.npz": "no such file",
        ".": "Is a directory",
    }
    for name, message in messages.items():
        text = tiny.fail(capsys, "diagnose", tmp_path / name)
        assert message in text, name
        assert len(text.splitlines()) == 1


def test_the_lines_for_jax_make_a_file_that_can_be_read(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = vj.Config(image_shape=(2, 3, 1), latent_size=3, encoder_widths=(), decoder_widths=())
    names = {
        "np": np,
        "x": jnp.asarray(X),
        "params": vj.model.init(config, KEY),
        "encode": lambda params, x: vj.model.encode(config, params, x),
        "decode": lambda params, z: vj.model.decode(config, params, z),
    }
    exec(snippet(2), names)
    codes = vj.exchange.codes.read(tmp_path / "codes.npz")
    np.testing.assert_array_equal(codes.logvar, names["logvar"])
    assert codes.x_mean is not None
    assert codes.x_mean.shape == X.shape


def torch_vae(torch: Any) -> Any:
    """A VAE of ten latent units for images of 64 pixels."""
    nn = torch.nn

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 20))
            self.decoder = nn.Sequential(
                nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid()
            )

        def encode(self, x: Any) -> Any:
            return self.encoder(x).chunk(2, -1)

        def decode(self, z: Any) -> Any:
            return self.decoder(z)

    return VAE()


def trained(torch: Any, model: Any, x: Any, error_of: Any, epochs: int = 40) -> None:
    """Train with `error_of` the squared errors of a batch, plus the KL summed over units."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in x[torch.randperm(len(x))].split(128):
            mean, logvar = model.encode(batch)
            z = mean + torch.exp(logvar / 2) * torch.randn_like(mean)
            kl = (mean**2 + logvar.exp() - 1 - logvar).sum(-1).mean() / 2
            optimizer.zero_grad()
            (error_of((model.decode(z) - batch) ** 2) + kl).backward()
            optimizer.step()


def test_of_pytorch_an_averaged_error_collapses_and_a_summed_one_does_not(
    tmp_path, monkeypatch
) -> None:
    """The file is made by the lines of the page; the KL is that of torch.distributions."""
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # nets this small only wait for further ones
    images = vj.data.load("digits").images.reshape(-1, 64)
    x = torch.tensor(images / 255, dtype=torch.float32)
    errors = {"averaged": lambda error: error.mean(), "summed": lambda error: error.sum(-1).mean()}
    for name, error_of in errors.items():
        model = torch_vae(torch)
        trained(torch, model, x, error_of)
        names = {"np": np, "torch": torch, "model": model, "x": x}
        exec(snippet(0), names)
        figures = tiny.page("diagnose").measured(vj.exchange.codes.read(tmp_path / "codes.npz"))
        found = vj.measure.judge_collapse(figures)
        assert (found.verdict == "total") == (name == "averaged")
        assert (figures["output_variance_ratio"] < 0.01) == (name == "averaged")
        distributions = torch.distributions
        posterior = distributions.Normal(names["mean"], torch.exp(names["logvar"] / 2))
        kl = distributions.kl_divergence(posterior, distributions.Normal(0, 1)).mean(0)
        np.testing.assert_allclose(figures["kl_per_unit_nats"], kl, rtol=1e-3, atol=1e-6)


def alarmed() -> dict[str, Any]:
    names: dict[str, Any] = {"np": np}
    exec(snippet(3), names)
    return names


def test_the_alarm_says_which_units_sleep() -> None:
    said = alarmed()["alarm"](TWO_DEAD, LOGVAR)
    assert re.fullmatch(r"collapse: partial, KL \S+ nats, asleep: \(1, 2\)", said)


def test_the_alarm_of_a_pytorch_loop(capsys) -> None:
    torch = pytest.importorskip("torch")
    trained_epochs: list[Any] = []
    names = {"torch": torch, "model": torch_vae(torch), "epochs": 2, "train": trained_epochs.append}
    names["held_out"] = torch.rand(50, 64)
    exec(snippet(4), alarmed() | names)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["0", "1"]
    assert len(trained_epochs) == 2


@pytest.mark.filterwarnings("ignore")  # of Lightning about PyTorch
def test_the_alarm_of_lightning(capsys) -> None:
    torch, lightning = pytest.importorskip("torch"), pytest.importorskip("lightning")
    names = alarmed() | {"torch": torch, "lightning": lightning}
    exec(snippet(5), names)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.vae = torch_vae(torch)

        def encode(self, x: Any) -> Any:
            return self.vae.encode(x)

        def training_step(self, batch: Any) -> Any:
            return torch.square(self.vae.decode(self.encode(batch)[0]) - batch).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", callbacks=[names["Alarm"](torch.rand(50, 64))],
        **dict.fromkeys(quiet, False),
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.rand(64, 64), 32))
    said = [line for line in capsys.readouterr().out.splitlines() if "collapse: " in line]
    assert [line.split()[0] for line in said] == ["0", "1"]


def test_the_alarm_of_keras(capsys, monkeypatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    names = alarmed() | {"keras": keras}
    exec(snippet(6), names)
    code = keras.layers.Dense(10)
    hidden = keras.Input((64,))
    encoder = keras.Model(hidden, [code(hidden), keras.layers.Dense(10)(hidden)])
    model = keras.Model(hidden, keras.layers.Dense(64)(code(hidden)))
    model.compile("adam", "mse")
    x = np.random.default_rng(0).random((64, 64), np.float32)
    model.fit(x, x, epochs=2, verbose=0, callbacks=[names["Alarm"](encoder, x)])
    said = [line for line in capsys.readouterr().out.splitlines() if "collapse: " in line]
    assert [line.split()[0] for line in said] == ["0", "1"]
