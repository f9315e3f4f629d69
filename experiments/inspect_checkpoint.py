"""Look into a trained model: its configuration, effective sigma and beta, metrics on the test set,
the KL of each unit, whether the posterior has collapsed and by which evidence, and pictures:
reconstructions, prior samples, a latent traversal, and for two latent units the decoded manifold
and the codes coloured by label.

Command: python -m experiments.inspect_checkpoint checkpoints/mnist/latent_size/z2
Needs the folder of the run and the data set that it was trained on, nothing else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from experiments.flags import failing_clearly, parse
from vaejax.errors import LabError

if TYPE_CHECKING:
    import numpy as np

    from vaejax.config import Config
    from vaejax.data import Dataset
    from vaejax.model import Params

SHOWN = 16
TRAVERSED = 10
"""Units of a traversal at most: those of the largest KL."""


@dataclass(frozen=True, kw_only=True)
class InspectFlags:
    """What to look at."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of a run: the one that holds config.json."""
    lane: int = 0
    """Which of the models trained side by side: 0 is that of the first seed."""
    nll_samples: int = 100
    """Importance samples per test image."""
    out: Path | None = None
    """Where to draw. None: the folder itself."""


def metrics(flags: InspectFlags, config: "Config", params: "Params", images: "np.ndarray") -> dict:
    """Figures on the test set, by name and unit."""
    import jax

    from experiments.study import EVALUATION_SEED
    from vaejax import collapse, diagnostics

    # As the studies split it, so that a model has the same figures here and there.
    keys = jax.random.split(jax.random.key(EVALUATION_SEED), 3)
    stacked = jax.tree.map(lambda leaf: leaf[None], params)
    figures = collapse.measure(config, stacked, images, jax.random.key(EVALUATION_SEED))
    if config.model == "vae":
        estimate = diagnostics.over_lanes(diagnostics.importance_nll, config, flags.nll_samples)(
            stacked, images, keys[1]
        )
        figures["nll_nats"] = estimate.nll.mean(-1)
        figures["nll_ess"] = estimate.effective_samples.mean(-1)
    return {name: figure[0] for name, figure in figures.items()}


def draw(
    folder: Path, config: "Config", params: "Params", order: list[int], test: "Dataset"
) -> list[Path]:
    """Write the pictures; `order` are the latent units, the most informative first."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from scipy.stats import norm

    from experiments.study import FIGURE_SEED
    from vaejax import figures, model

    def show(z: jax.Array) -> np.ndarray:
        return np.asarray(model.images_of(config, params, z)).reshape(-1, *config.image_shape)

    keys = jax.random.split(jax.random.key(FIGURE_SEED))
    flat = jnp.asarray(test.images.reshape(len(test.images), -1))
    posterior = model.encode(config, params, model.to_pixels(config, flat, keys[0]))
    inputs = test.images[:SHOWN] / np.float32(255)
    rows = {"input": inputs, "output": show(posterior.mean[:SHOWN])}
    prior = jax.random.normal(keys[1], (64, config.latent_size))
    drawn = {
        "reconstructions": figures.strips(rows, "Test images, decoded posterior means"),
        "samples": figures.grids([{"": show(prior)}], 8, "Images of codes drawn from N(0, I)"),
    }
    # From the code of the first test image, one unit at a time runs over the prior's range.
    reach = jnp.linspace(-3, 3, 11)
    sweeps = {
        f"unit {unit}": show(jnp.tile(posterior.mean[:1], (11, 1)).at[:, unit].set(reach))
        for unit in order[:TRAVERSED]
    }
    title = "One unit from -3 to 3, the others as encoded from the first test image"
    drawn["traversal"] = figures.strips(sweeps, title)
    if config.latent_size == 2:
        quantiles = jnp.asarray(norm.ppf((np.arange(20) + 0.5) / 20), jnp.float32)
        across, down = jnp.meshgrid(quantiles, quantiles[::-1])
        grid = show(jnp.stack([across.ravel(), down.ravel()], -1))
        title = "Decoded manifold: unit 0 across, unit 1 up, at quantiles of N(0, 1)"
        drawn["manifold"] = figures.grids([{"": grid}], 20, title)
        title = "Posterior means of the test images; circles: 1, 2, 3 standard deviations"
        drawn["codes"] = figures.codes({"": np.asarray(posterior.mean)}, test.labels, title)
    return [figures.save(figure, folder / f"{name}.png") for name, figure in drawn.items()]


def main() -> None:
    with failing_clearly():
        flags = parse(InspectFlags, __doc__)
        import numpy as np
        from rich.console import Console
        from rich.table import Table

        from experiments import provenance, study
        from vaejax import checkpoint, collapse, diagnostics
        from vaejax.data import load

        study.keep_compiled_programs()
        run, saved = checkpoint.restore(flags.folder)
        if not 0 <= flags.lane < len(run.seeds):
            raise LabError(f"--lane {flags.lane}: this run has lanes 0 to {len(run.seeds) - 1}.")
        if flags.nll_samples < 1:
            raise LabError(f"--nll-samples {flags.nll_samples}: use 1 or more.")
        params = diagnostics.lane_of(saved.state.params, flags.lane)
        test = load(run.dataset, "test")
        figures = metrics(flags, run.config, params, test.images.reshape(len(test.images), -1))
        found = collapse.judge(figures) if run.config.model == "vae" else None
        per_unit, _ = (
            np.asarray(figures.pop(name)) for name in ("kl_per_unit_nats", "mean_variance_per_unit")
        )
        order = [int(unit) for unit in np.argsort(-per_unit, kind="stable")]

        console = Console(highlight=False)
        console.print(provenance.describe(run))
        sigma, beta = provenance.effective(run, flags.lane)
        about = {"steps": saved.step, "lane": flags.lane, **run.lane(flags.lane)}
        about |= {"effective_sigma": sigma, "effective_beta": beta}
        table = Table("", "value", title=f"{flags.folder}: {run.dataset}, whole test set")
        for name, value in run.to_json()["config"].items():
            table.add_row(name, str(value))
        table.add_section()
        for name, value in (about | figures).items():
            table.add_row(name, "none" if np.isnan(value) else f"{float(value):.6g}")
        table.add_section()
        if run.config.model == "vae":
            for unit in order:
                table.add_row(f"KL of unit {unit}, nats", f"{per_unit[unit]:.4f}")
        console.print(table)
        if found:
            console.print(f"[bold]Posterior collapse: {found.verdict}[/bold]")
            for line in found.evidence:
                console.print(f"  {line}")
        if saved.state.diverged[flags.lane]:
            console.print("This lane diverged: shown is the last epoch that it ended with numbers.")
        for path in draw(flags.out or flags.folder, run.config, params, order, test):
            console.print(f"wrote {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
