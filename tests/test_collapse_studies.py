"""The pages on collapse: what they leave behind, tiny, on the embedded digits, and how they judge
rows that are made by hand."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import blur, collapse, few_images, recon_scale, study, training
from tests.test_experiments import TINY, fail, run
from vaejax import checkpoint, records, train
from vaejax import collapse as evidence
from vaejax.data import load

SMALL = [*TINY, "--widths", "8"]
UNITS = ["--latent-size", "2"]
ENDS = ["--recon-scale", "1", "6000"]
ARGUMENTS = {
    blur: [*SMALL, "--latent-sizes", "2"],
    few_images: [*SMALL, *UNITS, *ENDS, "--images", "5", "--epochs", "60"],
    collapse: [*SMALL, *UNITS, "--depths", "1", "2"],
    recon_scale: [*SMALL, *UNITS, *ENDS],
}
CLAIMS = {
    blur: ["C6"],
    few_images: ["C7", "C8"],
    collapse: ["C9", "C10", "C11", "C12"],
    recon_scale: ["C13", "C13, slightly blurry"],
}
FIGURES = {
    blur: {"spectrum", "reconstructions"},
    few_images: {"few_images", "spectrum", "two_images", "distances"},
    collapse: {"strip", "codes", "depth", "terms", "kl_per_unit"},
    recon_scale: {"scales", "reconstructions"},
}
LANES = {
    blur: [("z2", 64)],
    few_images: [("n5", 1), ("n5", 6000), ("n2", 1), ("n2", 6000)],
    collapse: [("depth1", 1), ("depth1", 6000), ("depth2", 1), ("signed", 1), ("signed", 6000)],
    recon_scale: [("scales", 1), ("scales", 6000)],
}
PAGES = pytest.mark.parametrize("page", ARGUMENTS, ids=lambda page: name_of(page))
MEASURES = ("neg_elbo_nats", "mse", "kl_nats", "mi_nats", "active_units", "output_variance_ratio")
MEASURES += ("random_output_ratio", "shuffled_gap_nats", "code_distance", "mean_distance")
TRAIN, TEST = (load("digits", split).images.reshape(-1, 64) / 255 for split in ("train", "test"))


def name_of(page: Any) -> str:
    return page.__name__.split(".")[-1]


def variance(images: np.ndarray) -> float:
    return float(images.var(0).mean())


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a study that trains until it has converged does so within seconds."""
    monkeypatch.setattr(training, "BLOCK", 5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """The folder of a page, run once."""

    @cache
    def folder(page: Any) -> Path:
        out = tmp_path_factory.mktemp("finished")
        run(page, *ARGUMENTS[page], "--out", out)
        return out / name_of(page)

    return folder


def rows_of(folder: Path) -> list[records.Row]:
    return records.read(folder / "results.jsonl")


@PAGES
def test_a_row_for_every_scale_and_seed(page, finished) -> None:
    rows = rows_of(finished(page))
    lanes = [(*lane, seed) for lane, seed in product(LANES[page], (0, 1))]
    assert [(row["run"], row["recon_scale"], row["seed"]) for row in rows] == lanes
    for row in rows:
        assert all(np.isfinite(row[name]) for name in MEASURES)
        if page is not blur:
            sigma = np.sqrt(64 / (2 * row["recon_scale"]))
            assert row["effective_sigma"] == pytest.approx(sigma, rel=1e-6)


@PAGES
def test_the_figures_of_collapse_agree_with_each_other(page, finished) -> None:
    for row in rows_of(finished(page)):
        parts = row["mi_nats"] + row["marginal_kl_nats"]
        assert row["kl_nats"] == pytest.approx(parts, rel=1e-5, abs=1e-5)
        assert row["kl_nats"] == pytest.approx(sum(row["kl_per_unit_nats"]), rel=1e-5)
        assert row["mi_nats"] <= row["mi_ceiling_nats"] + 1e-5
        found = evidence.judge(row)
        assert (row["collapse"], tuple(row["dead_units"])) == (found.verdict, found.dead_units)
        assert row["active_units"] == row["latent_size"] - len(row["dead_units"])


@PAGES
def test_verdicts_are_those_of_the_saved_rows(page, finished) -> None:
    folder = finished(page)
    written = json.loads((folder / "verdict.json").read_text())
    assert list(written) == CLAIMS[page]
    judged = {claim: found._asdict() for claim, found in page.verdict(rows_of(folder)).items()}
    assert written == records.plain(judged)


@PAGES
def test_resuming_redraws_from_what_is_saved_and_trains_nothing(
    page, finished, monkeypatch
) -> None:
    folder = finished(page)
    drawings = {path.stem: path for path in folder.glob("*.png")}
    assert set(drawings) == FIGURES[page]
    left = [*drawings.values(), folder / "verdict.json"]
    before = {path: path.read_bytes() for path in [*left, folder / "results.jsonl"]}
    for path in left:
        path.unlink()
    monkeypatch.setattr(train, "epoch_lanes", None)
    run(page, *ARGUMENTS[page], "--out", folder.parent, "--resume")
    for path, content in before.items():
        assert path.read_bytes() == content, path.name


@pytest.mark.parametrize("page", [blur, collapse, recon_scale], ids=name_of)
def test_the_mean_image_is_that_of_the_training_images_and_judged_on_the_test_set(
    page, finished
) -> None:
    want = np.square(TEST - TRAIN.mean(0)).mean()
    for row in rows_of(finished(page)):
        assert row["mean_image_mse"] == pytest.approx(want, rel=1e-5)
        assert row["mi_ceiling_nats"] == pytest.approx(np.log(len(TEST)), rel=1e-6)


def test_few_images_are_judged_on_themselves(finished) -> None:
    for row in rows_of(finished(few_images)):
        n = row["images"]
        assert row["run"] == f"n{n}"
        assert row["split"] == f"train[:{n}]"
        assert row["mean_image_mse"] == pytest.approx(variance(TRAIN[:n]), rel=1e-5)
        assert row["mi_ceiling_nats"] == pytest.approx(np.log(n), rel=1e-6)
        known = [row["distance_to_mean"] is not None, row["distance_to_nearer"] is not None]
        assert known == [n == 2] * 2


def test_distances_and_error_of_two_images_fit_together(finished) -> None:
    """No output is nearer to both than half their distance, and neither is an error below that
    of a model that outputs their average."""
    apart = np.square(TRAIN[0] - TRAIN[1]).mean()
    for row in rows_of(finished(few_images)):
        if row["images"] == 2:
            assert row["distance_to_mean"] + row["distance_to_nearer"] >= 0.5 - 1e-6
            assert row["mean_image_mse"] == pytest.approx(apart / 4, rel=1e-5)


@pytest.mark.parametrize("page", [few_images, recon_scale], ids=name_of)
def test_the_threshold_is_the_largest_eigenvalue_of_what_was_trained_on(page, finished) -> None:
    for row in rows_of(finished(page)):
        images = TRAIN[: row.get("images", len(TRAIN))]
        largest = np.linalg.eigvalsh(np.cov(images.T, bias=True))[-1]
        assert row["threshold_scale"] == pytest.approx(64 / (2 * largest), rel=1e-4)


def test_few_images_train_until_they_have_converged_and_then_no_more(
    finished, tmp_path, monkeypatch
) -> None:
    folder = finished(few_images)
    before = rows_of(folder)
    assert {row["converged"] for row in before} == {"yes"}
    assert all(row["steps"] < row["epochs"] == 60 for row in before)
    (folder / "results.jsonl").unlink()
    monkeypatch.setattr(train, "epoch_lanes", None)
    run(few_images, *ARGUMENTS[few_images], "--out", folder.parent, "--resume")
    assert rows_of(folder) == before


def test_few_images_cut_off_before_they_converge_say_so(tmp_path) -> None:
    """And decide nothing."""
    run(few_images, *ARGUMENTS[few_images], "--epochs", "10", "--out", tmp_path)
    folder = tmp_path / "few_images"
    assert {row["converged"] for row in rows_of(folder)} == {"no"}
    verdicts = json.loads((folder / "verdict.json").read_text()).values()
    assert {found["verdict"] for found in verdicts} == {"UNDECIDED"}


def test_both_loss_terms_are_kept_from_the_first_step(finished) -> None:
    folder = finished(collapse)
    for row in rows_of(folder):
        _, saved = checkpoint.restore(folder / row["run"])
        error = np.asarray(saved.trace.error)[row["lane"]]
        kl = np.asarray(saved.trace.kl)[row["lane"]].sum(-1)
        assert len(error) == row["steps"] == 22
        assert (row["recon_first"], row["kl_first_nats"]) == (error[0], kl[0])
        assert row["recon_last"] == pytest.approx(error.mean(), rel=1e-5)
        assert row["kl_peak_nats"] == kl.max() >= row["kl_last_nats"]


def test_a_constant_image_costs_four_times_as_much_in_the_signed_range(finished) -> None:
    for row in rows_of(finished(collapse)):
        signed = row["run"] == "signed"
        assert row["config"]["pixel_range"] == ("signed" if signed else "unit")
        assert row["constant_recon"] == pytest.approx((4 if signed else 1) * variance(TRAIN))


def test_a_deeper_decoder_is_deeper_by_layers_of_the_same_width(finished) -> None:
    rows = rows_of(finished(collapse))
    found = {(row["run"], row["depth"], *row["config"]["decoder_widths"]) for row in rows}
    assert found == {("depth1", 1, 8), ("depth2", 2, 8, 8), ("signed", 1, 8)}
    assert {tuple(row["config"]["encoder_widths"]) for row in rows} == {(8,)}


def test_remedies_reach_the_run_its_rows_and_its_record(tmp_path) -> None:
    remedies = ["--kl-warmup", "3", "--free-bits", "0.1", "--decoder-variance", "learned"]
    run(recon_scale, *ARGUMENTS[recon_scale], *remedies, "--out", tmp_path)
    stored, saved = checkpoint.restore(tmp_path / "recon_scale/scales")
    assert stored.config.decoder_variance == "learned"
    for row in rows_of(tmp_path / "recon_scale"):
        lane = stored.lane(row["lane"])
        assert (row["kl_warmup"], row["free_bits"], row["kl_cycle"]) == (3, 0.1, 0)
        assert {name: row[name] for name in lane} == lane
        assert row["config"]["decoder_variance"] == "learned"
        sigma = np.exp(saved.state.params["log_sigma"][row["lane"]])
        assert row["decoder_sigma"] == pytest.approx(float(sigma), rel=1e-6)
        assert row["decoder_sigma"] != 1
        assert row["threshold_scale"] is row["effective_sigma"] is None
    # In the first step the KL costs nothing but the bits that are free, in the third all of it.
    trace, scale = saved.trace, stored.knobs.recon_scale[:, None]
    charged = np.maximum(trace.kl, 0.1).sum(-1)
    first = np.asarray(trace.objective)[:, :1]
    np.testing.assert_allclose(first, scale * trace.error[:, :1], rtol=1e-5)
    assert (charged[:, 3] > 0).all()


def test_signed_pixels_are_a_setting_of_a_study(finished, tmp_path) -> None:
    """Rows stay in [0, 1]; what the scale amounts to is in units of the pixel range."""
    signed = ["--pixel-range", "signed", "--output", "tanh", "--out", tmp_path]
    run(recon_scale, *ARGUMENTS[recon_scale], *signed)
    for row, unit in zip(
        rows_of(tmp_path / "recon_scale"), rows_of(finished(recon_scale)), strict=True
    ):
        assert (row["config"]["pixel_range"], row["config"]["output"]) == ("signed", "tanh")
        assert row["mean_image_mse"] == unit["mean_image_mse"]
        assert row["threshold_scale"] == pytest.approx(unit["threshold_scale"] / 4, rel=1e-6)
        assert 0 < row["mse"] < 0.3


@pytest.mark.parametrize(
    ("page", "arguments", "message"),
    [
        (few_images, ["--likelihood", "bernoulli"], "use --likelihood gaussian"),
        (few_images, ["--images", "2"], "--images (2,)"),
        (few_images, ["--images", "5", "5"], "--images (5, 5)"),
        (few_images, ["--recon-scale", "1"], "--recon-scale (1.0,)"),
        (few_images, ["--recon-scale", "0", "1"], "recon_scale=0.0"),
        (few_images, ["--recon-scale", "1", "1", "2"], "--recon-scale (1.0, 1.0, 2.0)"),
        (collapse, ["--pixel-range", "signed"], "both pixel ranges itself"),
        (collapse, ["--output", "tanh"], "both pixel ranges itself"),
        (collapse, ["--likelihood", "bernoulli"], "squared error"),
        (collapse, ["--depths", "2"], "--depths (2,)"),
        (collapse, ["--depths", "1", "0"], "--depths (1, 0)"),
        (collapse, ["--recon-scale", "6", "1"], "--recon-scale (6.0, 1.0)"),
        (collapse, ["--latent-size", "1"], "--latent-size 1"),
        (collapse, ["--widths"], "--widths"),
        (recon_scale, ["--recon-scale", "1", "1"], "--recon-scale (1.0, 1.0)"),
        (recon_scale, ["--recon-scale", "1", "-1"], "recon_scale=-1.0"),
        (recon_scale, ["--decoder-variance", "learned", "--likelihood", "bernoulli"], "gaussian"),
        (recon_scale, ["--kl-warmup", "5", "--kl-cycle", "2"], "kl_cycle=2"),
        (blur, ["--latent-sizes"], "--latent-sizes"),
        (blur, ["--latent-sizes", "2", "2"], "--latent-sizes (2, 2)"),
        (blur, ["--recon-scale", "0"], "recon_scale=0.0"),
    ],
)
def test_bad_flags_are_one_message_that_names_them(
    page, arguments, message, tmp_path, capsys
) -> None:
    text = fail(page, capsys, *ARGUMENTS[page], "--out", tmp_path, *arguments)
    assert message in text
    assert "Traceback" not in text
    assert not list(tmp_path.iterdir())


def test_the_scales_of_few_images_may_be_given_in_any_order() -> None:
    flags = few_images.FewImagesFlags(dataset="digits", images=(5,), recon_scale=(60.0, 1.0, 600.0))
    five, two = few_images.runs(flags, study.load_data(flags))
    assert set(five.knobs.recon_scale.tolist()) == {1, 600}
    assert set(two.knobs.recon_scale.tolist()) == {1, 60, 600}


def test_figures_of_few_images_do_without_what_is_not_there(finished, tmp_path) -> None:
    """No threshold, as with a learned variance; no models of a scale, as when they diverged."""
    folder = tmp_path / "few_images"
    shutil.copytree(finished(few_images), folder)
    flags = few_images.FewImagesFlags(dataset="digits", images=(5,), recon_scale=(1.0, 6000.0))
    data, rows = study.load_data(flags), rows_of(folder)
    no_threshold = [row | {"threshold_scale": None} for row in rows]
    for run_name in ("n5", "n2"):
        left = [row for row in rows if (row["run"], row["recon_scale"]) != (run_name, 6000)]
        assert len(few_images.figure(left, folder, data)) == 4
    assert len(few_images.figure(no_threshold, folder, data)) == 4


Change = tuple[dict[str, Any], str, tuple[Any, ...]]
"""Rows with these fields get this figure: a value for each seed."""


def judged(page: Any, claim: str, rows: list[records.Row], *changes: Change) -> str:
    """The verdict on rows of seeds 0 and 1, after some changes."""
    made = [row | {"seed": seed} for row in rows for seed in (1, 0)]  # in any order
    for where, name, values in changes:
        touched = [row for row in made if where.items() <= row.items()]
        assert touched
        for row in touched:
            row[name] = values[row["seed"]]
    return page.verdict(made)[claim].verdict


BLURRED = [
    {"latent_size": size, "mse": 0.03, "mean_image_mse": 0.06, "high_frequency_share": 0.02}
    for size in (2, 10)
]
SMALLER = {"latent_size": 2}


@pytest.mark.parametrize(
    ("name", "values", "verdict"),
    [
        ("mse", (0.03, 0.0599), "HELD"),
        ("mse", (0.03, 0.06), "UNDECIDED"),
        ("mse", (0.03, 0.07), "UNDECIDED"),
        ("mse", (0.061, 0.07), "FAILED"),
        ("mse", (None, 0.03), "UNDECIDED"),
        ("high_frequency_share", (0.0, 0.099), "HELD"),
        ("high_frequency_share", (0.0, 0.1), "UNDECIDED"),
        ("high_frequency_share", (0.05, 0.2), "UNDECIDED"),
        ("high_frequency_share", (0.101, 0.2), "FAILED"),
    ],
)
def test_c6_every_size_reconstructs_something_but_only_blur(name, values, verdict) -> None:
    assert judged(blur, "C6", BLURRED, (SMALLER, name, values)) == verdict


FEW = [
    {
        "images": n,
        "recon_scale": scale,
        "converged": "yes",
        "high_frequency_share": 0.01 if scale == 1 else 0.9,
        "distance_to_mean": (0.02 if scale == 1 else 0.5) if n == 2 else None,
    }
    for n, scale in product((200, 25, 2), (1.0, 6000.0))
]
FIRST, LAST = {"recon_scale": 1.0}, {"recon_scale": 6000.0}
TWO = {"images": 2}


@pytest.mark.parametrize(
    ("change", "c7", "c8"),
    [
        (({}, "seed", (0, 1)), "HELD", "HELD"),
        ((FIRST | {"images": 25}, "high_frequency_share", (0.0, 0.0999)), "HELD", "HELD"),
        ((FIRST | {"images": 25}, "high_frequency_share", (0.0, 0.1)), "UNDECIDED", "HELD"),
        ((FIRST | {"images": 25}, "high_frequency_share", (0.11, 0.2)), "FAILED", "HELD"),
        ((FIRST | TWO, "high_frequency_share", (0.9, 0.9)), "HELD", "HELD"),
        ((FIRST | TWO, "distance_to_mean", (0.0, 0.0999)), "HELD", "HELD"),
        ((FIRST | TWO, "distance_to_mean", (0.05, 0.2)), "HELD", "UNDECIDED"),
        ((FIRST | TWO, "distance_to_mean", (0.11, 0.5)), "HELD", "FAILED"),
        ((FIRST | TWO, "converged", ("yes", "no")), "HELD", "UNDECIDED"),
        ((FIRST | {"images": 200}, "converged", ("no", "no")), "UNDECIDED", "HELD"),
        ((LAST, "converged", ("no", "no")), "HELD", "HELD"),
    ],
)
def test_c7_and_c8_are_judged_at_the_first_scale_of_what_has_converged(change, c7, c8) -> None:
    assert (judged(few_images, "C7", FEW, change), judged(few_images, "C8", FEW, change)) == (
        c7,
        c8,
    )


def test_failing_without_having_converged_is_undecided_as_well() -> None:
    far = (FIRST | TWO, "distance_to_mean", (0.5, 0.5))
    assert judged(few_images, "C8", FEW, far) == "FAILED"
    assert judged(few_images, "C8", FEW, far, (TWO, "converged", ("no", "no"))) == "UNDECIDED"


def net(run: str, scale: float, **figures: float) -> records.Row:
    collapsed = {
        "active_units": 0,
        "mse": 0.0617,
        "mean_image_mse": 0.0617,
        "output_variance_ratio": 1e-6,
        "random_output_ratio": 1e-6,
        "shuffled_gap_nats": 0.0,
        "code_distance": 4.0,
        "mean_distance": 0.01,
        "constant_recon": 0.06,
        "recon_last": 0.06,
        "kl_last_nats": 0.001,
    }
    return {"run": run, "recon_scale": scale, **collapsed, **figures}


NETS = [
    net("depth1", 1.0),
    net("depth1", 6000.0, shuffled_gap_nats=100.0, recon_last=0.02, active_units=10, mse=0.02),
    net("depth2", 1.0),
    net("depth6", 1.0),
    net("signed", 1.0, constant_recon=0.24, recon_last=0.24),
    net("signed", 6000.0, constant_recon=0.24, recon_last=0.08),
]
ONE, AWAKE, DEEP = ({"run": "depth1"} | FIRST, {"run": "depth1"} | LAST, {"run": "depth6"})
SIGNED, LIGHT = {"run": "signed"} | FIRST, {"run": "signed"} | LAST


@pytest.mark.parametrize(
    ("claim", "where", "name", "values", "verdict"),
    [
        ("C9", ONE, "output_variance_ratio", (0.0, 0.0099), "HELD"),
        ("C9", ONE, "output_variance_ratio", (0.0, 0.011), "UNDECIDED"),
        ("C9", ONE, "output_variance_ratio", (0.011, 0.5), "FAILED"),
        ("C9", ONE, "random_output_ratio", (0.0, 0.01), "UNDECIDED"),
        ("C9", ONE, "random_output_ratio", (0.011, 0.5), "FAILED"),
        ("C9", ONE, "shuffled_gap_nats", (0.99, -0.99), "HELD"),
        ("C9", ONE, "shuffled_gap_nats", (0.0, -1.01), "UNDECIDED"),
        ("C9", ONE, "shuffled_gap_nats", (1.01, -1.01), "FAILED"),
        ("C9", AWAKE, "output_variance_ratio", (0.9, 0.9), "HELD"),
        ("C9", DEEP, "output_variance_ratio", (0.9, 0.9), "HELD"),
        ("C10", ONE, "mean_distance", (0.01, 0.02), "FAILED"),
        ("C10", ONE, "mean_distance", (1.99, 1.99), "FAILED"),
        ("C10", ONE, "mean_distance", (1.99, 2.01), "UNDECIDED"),
        ("C10", ONE, "mean_distance", (2.01, 3.9), "HELD"),
        ("C10", AWAKE, "mean_distance", (3.9, 3.9), "FAILED"),
        ("C11", DEEP, "active_units", (0, 0), "HELD"),
        ("C11", DEEP, "active_units", (0, 1), "UNDECIDED"),
        ("C11", DEEP, "active_units", (1, 1), "FAILED"),
        ("C11", DEEP, "mse", (0.0612, 0.0617), "HELD"),
        ("C11", DEEP, "mse", (0.0610, 0.0617), "UNDECIDED"),
        ("C11", DEEP, "mse", (0.0610, 0.0610), "FAILED"),
        ("C11", SIGNED, "active_units", (1, 1), "HELD"),
        ("C12", SIGNED, "recon_last", (0.217, 0.263), "HELD"),
        ("C12", SIGNED, "recon_last", (0.215, 0.24), "UNDECIDED"),
        ("C12", SIGNED, "recon_last", (0.215, 0.215), "FAILED"),
        ("C12", SIGNED, "recon_last", (0.265, 0.265), "FAILED"),
        ("C12", SIGNED, "kl_last_nats", (1.99, 0.0), "HELD"),
        ("C12", SIGNED, "kl_last_nats", (2.0, 0.0), "UNDECIDED"),
        ("C12", SIGNED, "kl_last_nats", (2.01, 3.0), "FAILED"),
        ("C12", LIGHT, "recon_last", (0.119, 0.0), "HELD"),
        ("C12", LIGHT, "recon_last", (0.121, 0.08), "UNDECIDED"),
        ("C12", LIGHT, "recon_last", (0.121, 0.2), "FAILED"),
        ("C12", AWAKE, "recon_last", (0.06, 0.06), "HELD"),
        # What has not even learned the mean image says nothing.
        ("C9", ONE, "mse", (0.0617, 0.065), "UNDECIDED"),
        ("C10", ONE, "mse", (0.066, 0.065), "UNDECIDED"),
        ("C11", DEEP, "mse", (0.066, 0.07), "UNDECIDED"),
        ("C12", SIGNED, "mse", (0.066, 0.07), "UNDECIDED"),
    ],
)
def test_c9_to_c12_by_their_rules(claim, where, name, values, verdict) -> None:
    assert judged(collapse, claim, NETS, (where, name, values)) == verdict


def test_without_a_scale_that_does_not_collapse_nothing_is_compared_with_it() -> None:
    """As when every model of the second scale diverged."""
    rows = [row | {"shuffled_gap_nats": 0.1} for row in NETS if row["recon_scale"] == 1]
    verdicts = {claim: judged(collapse, claim, rows) for claim in CLAIMS[collapse]}
    assert verdicts == {"C9": "UNDECIDED", "C10": "FAILED", "C11": "HELD", "C12": "UNDECIDED"}


def scaled(scale: float, *values: float) -> records.Row:
    names = ("mse", "kl_nats", "active_units", "output_variance_ratio", "high_frequency_share")
    known = dict(zip(names, values, strict=True))
    return {"recon_scale": scale, "mean_image_mse": 0.06, **known}


SCALED = [
    scaled(1.0, 0.06, 0.001, 0, 0.0, 0.0),
    scaled(300.0, 0.9, 0.0, 0, 0.0, 0.9),  # between the ends nothing is asked
    scaled(6000.0, 0.02, 20.0, 10, 0.7, 0.2),
]
BLURRY = "C13, slightly blurry"


@pytest.mark.parametrize(
    ("claim", "where", "name", "values", "verdict"),
    [
        ("C13", LAST, "mse", (0.0299, 0.02), "HELD"),
        ("C13", LAST, "mse", (0.031, 0.02), "UNDECIDED"),
        ("C13", LAST, "mse", (0.031, 0.07), "FAILED"),
        ("C13", FIRST, "kl_nats", (0.0, 21.0), "UNDECIDED"),
        ("C13", FIRST, "kl_nats", (21.0, 22.0), "FAILED"),
        ("C13", LAST, "active_units", (1, 10), "HELD"),
        ("C13", LAST, "active_units", (0, 10), "UNDECIDED"),
        ("C13", LAST, "active_units", (0, 0), "UNDECIDED"),
        ("C13", LAST, "output_variance_ratio", (0.1, 0.9), "HELD"),
        ("C13", FIRST, "output_variance_ratio", (0.0, 0.8), "UNDECIDED"),
        ("C13", FIRST, "output_variance_ratio", (0.8, 0.9), "FAILED"),
        ("C13", LAST, "high_frequency_share", (0.0, 0.0), "HELD"),
        (BLURRY, LAST, "high_frequency_share", (0.11, 0.9), "HELD"),
        (BLURRY, LAST, "high_frequency_share", (0.1, 0.9), "UNDECIDED"),
        (BLURRY, LAST, "high_frequency_share", (0.02, 0.09), "FAILED"),
    ],
)
def test_c13_compares_the_ends_of_the_scales(claim, where, name, values, verdict) -> None:
    assert judged(recon_scale, claim, SCALED, (where, name, values)) == verdict


@pytest.mark.parametrize(
    ("page", "rows"), [(blur, BLURRED), (few_images, FEW), (collapse, NETS), (recon_scale, SCALED)]
)
def test_one_seed_decides_nothing(page, rows) -> None:
    verdicts = page.verdict([row | {"seed": 0} for row in rows])
    assert {claim: found.verdict for claim, found in verdicts.items()} == dict.fromkeys(
        CLAIMS[page], "UNDECIDED"
    )


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("page", "dataset"),
    [*((page, "cifar10") for page in ARGUMENTS), (recon_scale, "mnist")],
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
def test_every_study_of_collapse_runs_on_the_real_sets(page, dataset, tmp_path) -> None:
    size = ["--latent-sizes", "2"] if page is blur else UNITS
    small = ["--dataset", dataset, "--quick", "--epochs", "1", "--widths", "8", *size]
    run(page, *small, "--out", tmp_path)
    rows = rows_of(tmp_path / name_of(page))
    assert {row["dataset"] for row in rows} == {dataset}
    assert all(0 < row["mse"] < 0.3 for row in rows)
    assert set(json.loads((tmp_path / name_of(page) / "verdict.json").read_text())) == {
        *CLAIMS[page]
    }
