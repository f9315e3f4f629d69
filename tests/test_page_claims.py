"""The claims of all studies, judged on rows that are made by hand: every comparison turns the
verdict at its limit, and a model that does not count decides nothing."""

import re
from typing import Any

import pytest

import vaejax as vj
from tests import tiny
from tests.handmade import changed, found, seeded, verdicts

STUDIES = pytest.mark.parametrize("study", tiny.STUDIES)
FIRST, LAST = {"recon_scale": 1.0}, {"recon_scale": 6000.0}
SHALLOW, DEEP, SIGNED = (
    {"pixel_range": pixels, "depth": depth} | FIRST
    for pixels, depth in (("unit", 1), ("unit", 6), ("signed", 1))
)
BRIGHT = {"pixel_range": "signed"} | LAST
AE, VAE = {"latent_size": 10, "model": "ae"}, {"latent_size": 10, "model": "vae"}
MLP = {"net": "mlp1", "recon_scale": 6000.0}
FEW_UNITS, NO_UNITS = {"net": "mlp1", "recon_scale": 60.0}, {"net": "mlp1", "recon_scale": 32.0}
BATCH = {size: {"run": f"z10-n2-batch{size}"} for size in (1, 2)}
NLL = "nll_fitted_nats"
LONG = {"epochs": 100}
BERNOULLI = {"run": "mlp1-bernoulli"}

LIMITS: list[tuple[Any, ...]] = [
    *(("latent_size", "C5", {"latent_size": 4}, name, 2.9, 3.1) for name in
      ("neg_elbo_nats", "nll_nats", "mse", "frechet")),
    *(("latent_size", "C5", {"latent_size": 4}, name, 1.1, 0.9) for name in
      ("neg_elbo_nats", "nll_nats", "mse", "frechet")),
    ("autoencoder", "C1", AE, "mse", 0.0299, 0.031),
    ("autoencoder", "C2", VAE, "frechet", 8.9, 9.1),
    ("autoencoder", "C3", VAE, "code_distance_to_prior", 8.9, 9.1),
    ("autoencoder", "B6", AE, "frechet_mixture", 0.75, 1.1),
    ("autoencoder", "B6, both fitted", AE, "frechet_mixture", 0.75, 0.81),
    ("blur", "C6", {}, "mse", 0.0599, 0.061),
    ("blur", "C6", {}, "half_power_cycles", 3.99, 4.01),
    ("few_images", "C7", FIRST | {"images": 25}, "half_power_cycles", 3.99, 4.01),
    ("two_images", "C8", FIRST | {"run": "z10-n2"}, "distance_to_mean", 0.099, 0.11),
    ("two_images", "C8, by averaged gradients", FIRST | BATCH[2], "distance_to_mean", 0.09, 0.11),
    ("two_images", "C8, by averaged gradients", FIRST | BATCH[1], "distance_to_mean", 0.11, 0.09),
    ("two_images", "C8, by the scale", FIRST | BATCH[1], "outputs_apart", 0.49, 0.51),
    ("two_images", "C8, by the scale", FIRST | BATCH[2], "outputs_apart", 0.49, 0.51),
    ("two_images", "C8, by the scale", LAST | BATCH[1], "outputs_apart", 0.51, 0.49),
    ("collapse", "C9", SHALLOW, "output_variance_ratio", 0.0099, 0.011),
    ("collapse", "C9", SHALLOW, "random_output_ratio", 0.0099, 0.011),
    ("collapse", "C9", SHALLOW, "shuffled_gap_nats", -0.99, -1.01),
    ("collapse", "C10", SHALLOW, "mean_distance", 2.01, 1.99),
    ("collapse", "C11", DEEP, "active_units", 0, 1),
    ("collapse", "C11", DEEP, "mse", 0.0612, 0.0610),
    ("collapse", "C12", SIGNED, "recon_last", 0.217, 0.215),
    ("collapse", "C12", SIGNED, "recon_last", 0.263, 0.265),
    ("collapse", "C12", SIGNED, "kl_last_nats", 1.99, 2.01),
    ("collapse", "C12", BRIGHT, "recon_last", 0.119, 0.121),
    ("recon_scale", "C13", LAST, "kl_nats", 0.0011, 0.0009),
    ("recon_scale", "C13", FIRST, "active_units", 9, 11),
    ("recon_scale", "C13", FIRST, "output_variance_ratio", 0.6, 0.8),
    ("recon_scale", "C13", LAST, "mse", 0.0299, 0.031),
    ("recon_scale", "C13, slightly blurry", LAST, "half_power_cycles", 4.01, 3.99),
    *(("remedies", f"B4, {remedy}", {"remedy": remedy}, *limits) for remedy, limits in (
        ("warm-up", ("active_units", 1, 0)),
        ("warm-up", ("mse", 0.059, 0.061)),
        ("warm-up", (NLL, 49.0, 51.0)),
        ("warm-up at the ELBO", ("active_units", 1, 0)),
        ("warm-up at the ELBO", (NLL, -301.0, -299.0)),
    )),
    *(("remedies", f"B4, learned variance has the least {name}", {"remedy": "scale 6000"}, name,
       -399.0, -401.0) for name in (NLL, "frechet")),
    ("linear_vae", "B1, linear", {"recon_scale": 20.0}, "gap_nats", 0.09, 0.11),
    ("linear_vae", "B1, linear", {"recon_scale": 20.0}, "units_off", 0, 1),
    ("phase_diagram", "B1", BERNOULLI | {"times": 1.04}, "active_units", 1, 0),
    ("phase_diagram", "B1, directions", BERNOULLI | {"times": 1.04}, "active_directions", 1, 0),
    ("phase_diagram", "B2", BERNOULLI | {"times": 1.4}, "units_off", 1, 2),
    ("phase_diagram", "B2", {"run": "linear-gaussian", "times": 2.0}, "units_off", 1, 2),
    ("phase_diagram", "B2, KL", {"run": "linear-gaussian", "times": 2.0}, "kl_off", 0.9, 1.1),
    ("many_units", "B1, many units", MLP, "active_directions", 46, 44),
    ("many_units", "B1, many units", MLP, "active_directions", 54, 56),
    ("many_units", "B1, many units", FEW_UNITS, "active_directions", 4, 3),
    ("many_units", "B1, many units", NO_UNITS, "active_directions", 1, 2),
    ("many_units", "B1, many units, KL", MLP, "kl_nats", 90.1, 89.0),
    ("many_units", "B1, many units, KL", MLP, "kl_nats", 109.9, 111.0),
    ("many_units", "B1, many units, KL", FEW_UNITS, "kl_nats", 0.41, 0.39),
    ("many_units", "B1, many units, KL", NO_UNITS, "kl_nats", 0.09, 0.11),
    ("many_units", "B1, many units, gain", MLP, "gain_nats", 198.1, 197.9),
    ("gaps", "B7", LONG | {"latent_size": 10}, "amortization_gap_nats", 0.11, 0.09),
    ("gaps", "B7", LONG | {"latent_size": 4}, "amortization_gap_nats", 0.11, 0.09),
    ("gaps", "B7, without the encoder", LONG | {"latent_size": 10}, "nll_refined_nats", 23.9, 24.1),
]  # fmt: skip
"""A figure of some rows, a value with which the claim holds, and one with which it does not."""


@pytest.mark.parametrize("study", dict.fromkeys(row[0] for row in LIMITS))
def test_a_claim_turns_where_a_comparison_does(study) -> None:
    for _, claim, where, name, inside, outside in (row for row in LIMITS if row[0] == study):
        pairs = (inside, inside), (inside, outside), (outside, outside), (inside, None)
        found = [verdicts(study, changed(study, (where, name, pair)))[claim] for pair in pairs]
        assert found == ["HELD", "UNDECIDED", "FAILED", "UNDECIDED"], (claim, where, name)


ELSEWHERE = re.compile(r"B3|B4, (?!warm-up)|.*in \[-1, 1\]")
"""Claims that have a table of their own, or that are made like another one of the table."""


@STUDIES
def test_every_comparison_of_a_claim_is_in_the_table(study) -> None:
    for claim in tiny.page(study).CLAIMS:
        if ELSEWHERE.match(claim.name):
            continue
        turned = set()
        for _, _, where, figure, _, outside in (row for row in LIMITS if row[1] == claim.name):
            answer = claim.judge(changed(study, (where, figure, (outside, outside))))
            assert answer is not None
            numbers = answer.numbers.items()
            turned |= {rule for rule, n in numbers if min(n["low"]) > max(n["high"])}
        rows = changed(study)
        for part in claim.comparisons:
            assert turned & {one.known(rows).rule for one in part.of_each(claim.rows(rows))}


@pytest.mark.parametrize(
    ("study", "claim", "change", "verdict"),
    [
        # A model that has not learned the mean image, at either scale.
        ("collapse", "C9", (SHALLOW, "mse", (0.0617, 0.065)), "UNDECIDED"),
        ("collapse", "C10", (SHALLOW, "mse", (0.066, 0.065)), "UNDECIDED"),
        ("collapse", "C11", (DEEP, "mse", (0.066, 0.07)), "UNDECIDED"),
        ("collapse", "C12", (SIGNED, "mse", (0.066, 0.07)), "UNDECIDED"),
        ("collapse", "C12", (BRIGHT, "mse", (0.02, 0.07)), "UNDECIDED"),
        # One that has not converged.
        ("few_images", "C7", (FIRST | {"images": 200}, "converged", ("no", "no")), "UNDECIDED"),
        ("few_images", "C7", (LAST, "converged", ("no", "no")), "HELD"),
        ("two_images", "C8", (FIRST | {"images": 2}, "converged", ("yes", "no")), "UNDECIDED"),
        ("two_images", "C8", (LAST, "converged", ("no", "no")), "HELD"),
        ("two_images", "C8, by the scale", (BATCH[2], "converged", ("yes", "no")), "UNDECIDED"),
        # A baseline that has not collapsed is not cured, and of no matter at the ELBO.
        ("remedies", "B4, cyclical", ({"remedy": "baseline"}, "active_units", (0, 1)), "UNDECIDED"),
        ("remedies", "B4, free bits at the ELBO",
         ({"remedy": "baseline"}, "active_units", (9, 9)), "HELD"),
        # What the claim does not speak of.
        ("autoencoder", "C1", (VAE, "mse", (0.9, 0.9)), "HELD"),
        ("collapse", "C9", (DEEP, "output_variance_ratio", (0.9, 0.9)), "HELD"),
        ("collapse", "C11", (SIGNED, "active_units", (1, 1)), "HELD"),
        ("two_images", "C8", (BATCH[2], "distance_to_mean", (0.5, 0.5)), "HELD"),
        ("remedies", "B4, warm-up at the ELBO",
         ({"remedy": "warm-up at the ELBO"}, "mse", (0.9, 0.9)), "HELD"),
        ("phase_diagram", "B2", (BERNOULLI | {"times": 2.0}, "units_off", (9, 9)), "HELD"),
        ("many_units", "B1, many units, gain", (NO_UNITS, "gain_nats", (-9, -9)), "HELD"),
        ("gaps", "B7", ({"epochs": 50}, "train_amortization_gap_nats", (9, 9)), "HELD"),
        # Of pictures of 6 by 6 pixels, 1.5 cycles per image are blur.
        ("blur", "C6", ({}, "cycles_per_image", ([1.0, 2.0, 3.0],) * 2), "FAILED"),
        # 1% of what there is to gain.
        ("linear_vae", "B1, linear", ({"recon_scale": 20.0}, "gain_nats", (100, 100)), "HELD"),
        # A seed that never wakes.
        ("phase_diagram", "B1", (BERNOULLI | {"times": 2.0}, "active_units", (0, 0)), "UNDECIDED"),
    ],
)  # fmt: skip
def test_what_does_not_count_decides_nothing(study, claim, change, verdict) -> None:
    assert verdicts(study, changed(study, change))[claim] == verdict


def test_a_larger_gap_is_allowed_where_there_is_more_to_gain() -> None:
    where = {"recon_scale": 20.0}
    for gap, verdict in ((0.9, "HELD"), (1.1, "FAILED")):
        changes = [(where, "gain_nats", (100, 100)), (where, "gap_nats", (gap, gap))]
        assert verdicts("linear_vae", changed("linear_vae", *changes))["B1, linear"] == verdict


def test_where_no_gain_is_predicted_there_is_no_verdict_on_it() -> None:
    nothing = ({"net": "mlp1"}, "predicted_gain_nats", (0.0, 0.0))
    found = verdicts("many_units", changed("many_units", nothing))
    assert found["B1, many units, gain"] is None
    assert found["B1, many units"] == "HELD"


def net(zero: float, raised_from: float, lowered_from: float) -> list[vj.store.Row]:
    """Units of a linear net whose growth is 0 at `zero` times the threshold, and which are active
    from some scales on."""
    return [
        {
            "net": "linear",
            "from": part,
            "seed": seed,
            "times": time,
            "active_units": int(time >= first),
        }
        | {"growth_per_1000_steps": 20 * (time - zero) * (1 + seed) if time > 1 else None}
        for seed in (1, 0)
        for part, first in (("raised", raised_from), ("lowered", lowered_from))
        for time in (0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.4)
    ]


@pytest.mark.parametrize(
    ("rows", "wakes", "loop"),
    [
        (net(1.09, 1.05, 1.05), "HELD", "FAILED"),
        (net(1.11, 1.05, 1.05), "FAILED", "FAILED"),
        (net(0.91, 1.05, 1.05), "HELD", "FAILED"),
        (net(0.89, 1.05, 1.05), "FAILED", "FAILED"),
        (net(1.0, 1.1, 0.95), "HELD", "HELD"),
        (net(1.0, 0.9, 0.8), "UNDECIDED", "HELD"),
        (net(1.0, 0.8, 0.8), "FAILED", "FAILED"),
    ],
)
def test_waking_and_falling_asleep(rows, wakes, loop) -> None:
    assert verdicts("dead_or_slow", rows) == {
        "B3, linear": wakes,
        "B3, linear has a loop": loop,
        "B3, mlp1": None,
        "B3, mlp1 has a loop": None,
    }


@STUDIES
def test_two_seeds_decide_and_one_does_not(study) -> None:
    """And every claim is a question, and its answer says what decided: two numbers, or why there is
    none."""
    held, alone = found(study, seeded(study, 0, 1)), found(study, seeded(study, 0))
    for claim in tiny.page(study).CLAIMS:
        two, one = held[claim.name], alone[claim.name]
        if "in [-1, 1]" in claim.name:
            assert two is one is None
            continue
        assert two is not None
        assert one is not None
        assert two.verdict == ("FAILED" if claim.name == "C10" else "HELD")
        assert one.verdict == "UNDECIDED"
        assert re.fullmatch(r"[A-Z].*\?", two.question)
        assert re.search(r" is .*\d, (not )?(below|above) .*\d\.$", two.answer)
        assert re.search("one seed alone decides nothing|no answer", one.answer)


@pytest.mark.parametrize(
    ("study", "where", "silent"),
    [
        ("latent_size", {"latent_size": 10}, {"C5"}),
        ("collapse", LAST, {"C9", "C12"}),
        ("collapse", {"pixel_range": "signed"}, {"C12"}),
        ("collapse", {"pixel_range": "unit", "depth": 1}, {"C9", "C10"}),
        ("remedies", {"remedy": "baseline"}, {"B4, warm-up", "B4, cyclical", "B4, free bits",
         "B4, true ELBO", "B4, scale 6000", "B4, learned variance"}),
        ("two_images", {"run": "z10-n2"}, {"C8"}),
        ("two_images", BATCH[1], {"C8, by averaged gradients"}),
        ("phase_diagram", {"run": "linear-gaussian"}, {"B2, KL"}),
        ("dead_or_slow", {"net": "mlp1"}, {"B3, mlp1", "B3, mlp1 has a loop"}),
        ("many_units", FEW_UNITS, set()),
        ("gaps", {"latent_size": 10}, {"B7, without the encoder"}),
    ],
)  # fmt: skip
def test_without_what_a_claim_speaks_of_there_is_no_verdict_on_it(study, where, silent) -> None:
    """As when other sizes or scales were asked for. The verdicts on other claims stay."""
    left = [row for row in seeded(study, 0, 1) if not where.items() <= row.items()]
    found = verdicts(study, left)
    assert {claim for claim, verdict in found.items() if verdict is None} == silent


@pytest.mark.parametrize(
    ("study", "claim", "where", "name", "value"),
    [
        ("blur", "C6", {}, "half_power_cycles", 9.0),
        ("few_images", "C7", FIRST, "half_power_cycles", 9.0),
        ("two_images", "C8", {"images": 2}, "distance_to_mean", 0.5),
        ("recon_scale", "C13", LAST, "mse", 0.07),
        ("collapse", "C11", {"depth": 6}, "active_units", 1),
    ],
)
def test_each_latent_size_has_its_own_verdict(study, claim, where, name, value) -> None:
    """Rows of another size, of which one figure is such that the claim fails."""
    other = [row | {"latent_size": 20} for row in changed(study, (where, name, (value, value)))]
    answer = verdicts(study, [*other, *changed(study)])[claim]
    assert answer == "HELD at 10 units, FAILED at 20 units"


def test_each_range_of_pixels_is_judged_by_itself_that_of_the_write_up_first() -> None:
    rows = seeded("recon_scale", 0, 1)
    blurred = [
        row | {"run": "z10-signed", "half_power_cycles": 2.0}
        for row in rows
        if row["recon_scale"] != 300
    ]
    assert list(verdicts("recon_scale", [*rows, *blurred]).items()) == [
        ("C13, in [-1, 1]", "HELD"),
        ("C13, slightly blurry, in [-1, 1]", "FAILED"),
        ("C13", "HELD"),
        ("C13, slightly blurry", "HELD"),
    ]
