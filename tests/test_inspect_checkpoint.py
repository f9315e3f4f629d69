"""inspect_checkpoint: the figures of the study, pictures, and for a VAE the verdict on collapse."""

import re

import pytest

from tests import tiny


@pytest.mark.parametrize("lane", [0, 1])
def test_a_checkpoint_tells_its_metrics_and_draws_itself(
    lane, finished, tmp_path, capsys, monkeypatch
) -> None:
    """Of lane 0 the NLL is estimated from some of the images, and has a standard error; and nothing
    is drawn, which takes long."""
    if lane == 0:
        monkeypatch.setattr(tiny.page("inspect_checkpoint"), "pictures", tiny.no_figures)
    flags = [finished("latent_size") / "z2", "--lane", lane, "--nll-samples", 5, "--out", tmp_path]
    some = ["--nll-images", 100] if lane == 0 else []
    tiny.command("inspect_checkpoint", *flags, *some)
    quick, slow = capsys.readouterr().out.split("Posterior collapse: ")  # the quick figures first
    assert "effective_beta" in quick
    assert "KL of unit 1" in quick
    shown = dict(re.findall(r"│ (\w+) +│ ([-\d.e+]+) +│", quick + slow))
    row = tiny.rows_of(finished("latent_size"))[lane]
    of_all = ("nll_nats", "nll_ess")
    for name in ("neg_elbo_nats", "mse", "kl_nats", "active_units", *(of_all if lane else ())):
        assert float(shown[name]) == pytest.approx(row[name], rel=1e-5)  # of the study
    assert "nll_nats" not in quick
    if lane == 0:
        assert shown["nll_images"] == "100"
        away = abs(float(shown["nll_nats"]) - row["nll_nats"])
        assert 0 < away < 4 * float(shown["nll_standard_error"]) < 1

    verdict, evidence, *_ = slow.splitlines()
    active = row["active_units"]
    assert evidence.strip().startswith(f"{active} of 2 units are active")
    assert verdict in {0: ["total"], 2: ["total", "healthy"]}.get(active, ["total", "partial"])
    drawn = {"reconstructions", "samples", "traversal", "manifold", "codes"} if lane else set()
    assert {path.stem for path in tmp_path.glob("*.png")} == drawn
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))


def test_an_ae_is_not_asked_whether_it_has_collapsed(
    finished, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny.command("inspect_checkpoint", finished("autoencoder") / "ae-z2", "--out", "~/drawn")
    assert (tmp_path / "drawn" / "samples.png").is_file()
    text = capsys.readouterr().out
    assert "mse" in text
    assert "Posterior collapse" not in text
    assert "KL of unit" not in text


def test_what_is_not_there_is_named(finished, tmp_path, capsys) -> None:
    folder = finished("latent_size") / "z2"
    text = tiny.fail(capsys, "inspect_checkpoint", folder, "--lane", 2)
    assert "lanes 0 to 1" in text
    assert "no config.json" in tiny.fail(capsys, "inspect_checkpoint", tmp_path)
    assert "--nll-samples 0" in tiny.fail(capsys, "inspect_checkpoint", folder, "--nll-samples", 0)
