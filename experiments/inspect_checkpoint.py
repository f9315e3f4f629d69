"""Look into a trained model: its configuration, effective sigma and beta, metrics on the test set,
the KL of each unit, whether the posterior has collapsed and by which evidence, and pictures:
reconstructions, prior samples, a latent traversal, and for two latent units the decoded manifold
and the posterior means coloured by label.

The importance-weighted NLL and the pictures are slow, and come last. The NLL is estimated from a
thousand of the test images, and its standard error is beside it.

Command: python -m experiments.inspect_checkpoint checkpoints/mnist/latent_size/z2
Needs the folder of the run and the data set that it was trained on, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any

import numpy as np
import tyro
from rich.table import Table

import vaejax as vj

SHOWN = 16
TRAVERSED = 10
"""The most units of a traversal: those of the largest KL."""
ACROSS = 20
"""Images in a row of the manifold."""


@dataclass(frozen=True, kw_only=True)
class InspectFlags:
    """What to look at."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of a run: the one that holds config.json."""
    dataset: str | None = None
    """Where the images are now, if they have moved since the training."""
    lane: int = 0
    """Which of the models trained side by side: 0 is the one of the first seed."""
    best: bool = False
    """Look at the state of least held-out negative ELBO, which `--keep-best` kept, instead of the
    newest."""
    nll_samples: int = 100
    """Importance samples per test image."""
    nll_images: int | None = 1000
    """The NLL is measured on so many test images, evenly spaced. None: on all, as in studies."""
    out: Path | None = None
    """Where to draw. None: the folder itself."""

    def __post_init__(self) -> None:
        vj.study.at_least("--nll-samples", 1, self.nll_samples)
        vj.study.at_least("--nll-images", 2, self.nll_images)


def likelihood(
    trained: vj.store.Trained, images: np.ndarray, neg_elbo: float, flags: InspectFlags
) -> dict[str, float]:
    """The importance-weighted NLL of the test set, from that of some of its images.

    It is the negative ELBO of all images, less the mean gap between ELBO and NLL of some. The gap
    varies far less from image to image than the NLL does, so the standard error is small. It is 0
    if the NLL of all images is measured. With one or two latent units there is also the NLL on a
    grid over all codes, which needs no encoder.
    """
    count = min(flags.nll_images or len(images), len(images))
    some = images[np.linspace(0, len(images) - 1, count).round().astype(int)]
    keys = vj.study.evaluation_keys(2)
    evaluation = vj.study.on_lanes(vj.measure.evaluate, trained, some, keys[0])
    estimate = vj.study.on_lanes(
        vj.measure.importance_nll, trained, some, keys[1], flags.nll_samples
    )
    gap = np.asarray(evaluation.neg_elbo - estimate.nll, float)[0]
    left_out = 1 - count / len(images)
    figures = {
        "nll_nats": neg_elbo - gap.mean(),
        "nll_standard_error": gap.std(ddof=1) * (left_out / count) ** 0.5,
        "nll_ess": float(estimate.effective_samples.mean()),
        "nll_images": count,
    }
    if trained.run.config.latent_size <= vj.measure.grid.MOST_UNITS:
        grid = vj.study.on_lanes(vj.measure.grid_nll, trained, some, keys[1])
        figures["nll_grid_nats"] = neg_elbo - float(np.mean(evaluation.neg_elbo - grid.nll))
        figures["nll_grid_error_nats"] = float(np.mean(grid.error))
    return figures


def pictures(
    trained: vj.store.Trained, order: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """The figures by name; `order` are the latent units, the most informative first."""
    show = vj.show
    means = vj.study.posterior_means(trained, 0, images)
    rows = {
        "input": vj.study.unit_pixels(images[:SHOWN], trained.run.config.image_shape),
        "output": vj.study.decoded(trained, 0, means[:SHOWN]),
    }
    samples = vj.study.samples(trained, 0, 64)
    drawn = {
        "reconstructions": show.strips(rows, "Test images, decoded posterior means"),
        "samples": show.grids([{"": samples}], 8, "Images of codes drawn from N(0, I)"),
        "traversal": show.strips(
            {
                f"unit {unit}": vj.study.decoded(trained, 0, traversal(means[0], unit))
                for unit in order[:TRAVERSED]
            },
            "One unit from -3 to 3, the others as encoded from the first test image",
        ),
    }
    if len(order) == 2:
        drawn["manifold"] = show.grids(
            [{"": vj.study.decoded(trained, 0, manifold())}],
            ACROSS,
            "Decoded manifold: unit 0 across, unit 1 up, at quantiles of N(0, 1)",
        )
        title = "Posterior means of the test images; circles: 1, 2, 3 standard deviations"
        drawn["codes"] = show.codes({"": means}, labels, title)
    return drawn


def traversal(code: np.ndarray, unit: int) -> np.ndarray:
    """Codes [11, latent] in which one unit runs over the range of the prior."""
    codes = np.tile(code, (11, 1))
    codes[:, unit] = np.linspace(-3, 3, 11)
    return codes


def manifold() -> np.ndarray:
    """Codes of two units on a grid of quantiles of N(0, 1), from the top left in reading order."""
    quantiles = [NormalDist().inv_cdf((index + 0.5) / ACROSS) for index in range(ACROSS)]
    across, down = np.meshgrid(quantiles, quantiles[::-1])
    return np.stack([across.ravel(), down.ravel()], -1).astype(np.float32)


def table(
    flags: InspectFlags, trained: vj.store.Trained, figures: dict[str, Any], order: np.ndarray
) -> Table:
    """Configuration, settings and figures, and the KL of each unit."""
    run = trained.run
    (sigma,), (beta,) = vj.study.provenance.effective(run)
    steps = trained.state.step[0] if flags.best else trained.step
    known = {"steps": steps, "lane": flags.lane, **run.lanes[0]}
    known |= {"effective_sigma": sigma, "effective_beta": beta}
    known |= {name: figure for name, figure in figures.items() if figure.ndim == 0}
    shown = Table("", "value")
    for name, value in run.to_json()["config"].items():
        shown.add_row(name, str(value))
    shown.add_section()
    for name, value in known.items():
        shown.add_row(name, number(value))
    if run.config.model == "vae":
        shown.add_section()
        for unit in order:
            shown.add_row(f"KL of unit {unit}, nats", f"{figures['kl_per_unit_nats'][unit]:.4f}")
    return shown


def likelihood_table(figures: dict[str, float]) -> Table:
    """What `likelihood` found."""
    title = f"Importance-weighted NLL of the test set, from {figures['nll_images']:,} of its images"
    shown = Table("", "value", title=title)
    for name, value in figures.items():
        shown.add_row(name, number(value))
    return shown


def number(value: Any) -> str:
    """A figure as the tables show it; NaN is none."""
    return "none" if np.isnan(value) else f"{float(value):.6g}"


def inspect(flags: InspectFlags) -> None:
    """Print and draw what there is to say about one model."""
    vj.study.environment.prepare()
    folder = vj.files.own_path(flags.folder)
    whole = vj.store.restore(folder, best=flags.best)
    trained = vj.study.chosen_lane(whole, flags.lane)
    run = vj.study.laboratory.with_images_at(trained.run, flags.dataset)
    test = vj.study.images_of(run, "test")
    images = test.flat
    key = vj.study.evaluation_key()  # as in the studies
    found = vj.measure.collapse_figures(run.config, trained.state.params, images, key)
    figures = {name: np.asarray(figure)[0] for name, figure in found.items()}
    order = np.argsort(-figures["kl_per_unit_nats"], kind="stable")

    out = vj.study.terminal.console()
    out.print(vj.study.provenance.describe(whole.run))
    if flags.best:
        out.print(f"The best state, after {trained.state.step[0]} of {trained.step} steps.")
    source = f"{flags.folder}: {run.images.dataset}, {run.images.test}"
    out.print(source, style="italic", markup=False, soft_wrap=True)  # a path is not cut
    out.print(table(flags, trained, figures, order))
    is_vae = trained.run.config.model == "vae"
    if is_vae:
        vj.study.terminal.show_collapse(out, vj.measure.judge_collapse(figures))
    if trained.state.diverged[0]:
        out.print("This lane diverged: shown is the last epoch that it ended with finite numbers.")
    if is_vae:
        neg_elbo = float(figures["neg_elbo_nats"])
        out.print(likelihood_table(likelihood(trained, images, neg_elbo, flags)))
    drawn_in = vj.files.own_path(flags.out or folder)
    for name, figure in pictures(trained, order, images, test.labels).items():
        vj.study.terminal.show_paths(out, *vj.show.save(figure, drawn_in, name))


def main() -> None:
    with vj.study.failing_clearly():
        inspect(vj.study.parse(InspectFlags, __doc__))


if __name__ == "__main__":
    main()
