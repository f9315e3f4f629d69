"""Published numbers of VAEs on MNIST, measured again: a model is trained and measured as its source
says, and stands beside what the source found.

Sources, all MLPs with a Bernoulli decoder:
  flax       google/flax, examples/vae
  jaanli     jaanli/variational-autoencoder, the version in JAX
  pythae     clementchadebec/benchmark_VAE, the VAE of its table of reproductions
  pythae2    the same with the second hidden layer that its script has in a comment
  davidson2, davidson5, davidson10, davidson20, davidson40
             Davidson et al. 2018 (arXiv 1804.00891), the N-VAE with so many latent units
  burda, iwae5, iwae50
             Burda et al. 2016 (arXiv 1509.00519), one layer of 50 units: the VAE, and the IWAE of 5
             and of 50 samples

Pixels are drawn from Bernoulli(pixel): once, before training (flax, jaanli, pythae), or anew at
each use (davidson, burda, iwae). Do not compare numbers of one kind with those of the other. The
sources that draw once share one drawing, of Larochelle and Murray 2011. Here --drawing is the seed
of another one, and several show how much that matters.

Training: batches, optimizer, learning rates and epochs of the source, in stages if the rate falls
in steps. One of six training images is held out, but for burda and iwae. Where the source waits for
a better held-out ELBO (davidson), or keeps the best (pythae), the best state of a model counts.

Measurement, after each stage, on the images of which the source has numbers, else on the test
images: the negative ELBO with one code for each image and its two terms, the importance-weighted
NLL with the samples of the source, and the number of active units.

Command: python -m experiments.published jaanli

Cost, on 2 cores, for two seeds: flax 2 minutes; each davidson and pythae 20 to 30; jaanli about
30, of which the NLL takes half. Of burda --stages 4 takes 10 minutes, and all 8 take 80 times as
long.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro
from rich.table import Table

import vaejax as vj


class Stage(NamedTuple):
    """Epochs at one learning rate."""

    epochs: int
    learning_rate: float
    test: dict[str, float] | None = None
    """What the source found on its test images, by figure."""
    held_out: dict[str, float] | None = None
    """The same on images that it did not train on."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a source trained and measured a model."""

    work: str
    choices: dict[str, Any]
    """Fields of Config, but for the shape of an image and the widths of the decoder. With
    `binarize` pixels are drawn at each use, else once."""
    stages: tuple[Stage, ...]
    samples: int
    """Of the importance-weighted NLL."""
    holds_out: bool = True
    warmup: int = 0
    """Epochs over which the weight of the KL grows."""
    patience: int | None = None
    """Epochs without less held-out negative ELBO after which a model stops. None: it never does,
    and its last state counts."""
    mean_pixel: bool = False
    """Whether the outputs begin at the logits of the mean image."""
    differs: str = ""
    """What of it is not as the source has it."""


def davidson(latent_size: int, **found: float) -> Setting:
    choices = {"encoder_widths": (256, 128), "batch_size": 64, "binarize": True}
    return Setting(
        work=f"Davidson et al. 2018, N-VAE, {latent_size} units", samples=500, warmup=100,
        patience=50, differs="patience begins where the warm-up ends",
        choices=choices | {"latent_size": latent_size}, stages=(Stage(1000, 1e-3, found),),
    )  # fmt: skip


def burda(work: str, importance_samples: int, **found: float) -> Setting:
    choices = {
        "encoder_widths": (200, 200), "latent_size": 50, "encoder_activation": "tanh",
        "decoder_activation": "tanh", "batch_size": 20, "binarize": True, "beta1": 0.99,
        "epsilon": 1e-4, "importance_samples": importance_samples,
    }  # fmt: skip
    rates = [1e-4 * round(10 ** (1 - stage / 7), 1) for stage in range(8)]
    stages = tuple(Stage(3**stage, rate) for stage, rate in enumerate(rates))
    return Setting(
        work=f"Burda et al. 2016, {work}", choices=choices, samples=5000, holds_out=False,
        mean_pixel=True, differs="other initial weights",
        stages=(*stages[:-1], stages[-1]._replace(test=found)),
    )  # fmt: skip


def pythae(*widths: int, differs: str = "another drawing of the pixels") -> Setting:
    return Setting(
        work="clementchadebec/benchmark_VAE", samples=200, patience=500, differs=differs,
        choices={"encoder_widths": widths, "latent_size": 40, "batch_size": 100},
        stages=(
            Stage(200, 1e-4),
            Stage(150, 1e-4 * 10**-0.2),
            Stage(150, 1e-4 * 10**-0.4, {"nll_nats": 89.78}),
        ),
    )  # fmt: skip


SETTINGS = {
    "flax": Setting(
        work="google/flax, examples/vae", samples=100, differs="another drawing of the pixels",
        choices={"encoder_widths": (500,), "latent_size": 20},
        stages=(Stage(10, 1e-3, {"neg_elbo_nats": 104}),),
    ),
    "jaanli": Setting(
        work="jaanli/variational-autoencoder", samples=1000,
        differs="another drawing; the posterior has exp(logvar / 2), there softplus, as its scale",
        choices={"encoder_widths": (512, 512), "latent_size": 128, "optimizer": "rmsprop"},
        # It gives numbers after 10,000, 20,000 and 30,000 steps; an epoch has 390.
        stages=(
            Stage(26, 1e-3, held_out={"neg_elbo_nats": 105.725, "nll_nats": 98.973}),
            Stage(25, 1e-3, held_out={"neg_elbo_nats": 105.756, "nll_nats": 97.914}),
            Stage(26, 1e-3, {"neg_elbo_nats": 104.867, "nll_nats": 96.716}),
        ),
    ),
    "pythae": pythae(400),
    "pythae2": pythae(400, 400, differs="two hidden layers, not one; another drawing"),
    "davidson2": davidson(2, nll_nats=135.73, recon_nats=129.84, kl_nats=7.24),
    "davidson5": davidson(5, nll_nats=110.21, recon_nats=100.16, kl_nats=12.82),
    "davidson10": davidson(10, nll_nats=93.84),
    "davidson20": davidson(20, nll_nats=88.90, recon_nats=71.29, kl_nats=23.50),
    "davidson40": davidson(40, nll_nats=88.93),
    "burda": burda("VAE", 0, nll_nats=86.76, active_units=19),
    "iwae5": burda("IWAE of 5 samples", 5, nll_nats=85.54),
    "iwae50": burda("IWAE of 50 samples", 50, nll_nats=84.78),
}  # fmt: skip
Source = tyro.conf.arg(constructor=tyro.extras.literal_type_from_choices(SETTINGS))
"""The flag has these choices."""
FIGURES = ("neg_elbo_nats", "recon_nats", "kl_nats", "nll_nats", "active_units")


@dataclass(frozen=True, kw_only=True)
class PublishedFlags:
    """Which source, and how much of it."""

    source: Annotated[str, Source, tyro.conf.Positional]
    """Whose model."""
    seeds: tuple[int, ...] = (0, 1)
    """A model per seed."""
    drawing: int = 0
    """The seed by which pixels are drawn, where the source draws them once."""
    stages: int | None = None
    """Only the first so many stages. None: all."""
    epochs: int | None = None
    """At most so many epochs of each stage. None: as the source."""
    samples: int | None = None
    """Samples of the NLL. None: as many as the source takes."""
    dataset: str = "mnist"
    """The images. All published numbers are of mnist."""
    out: Path = Path("checkpoints/published")
    """Models and results go to OUT/SOURCE, or OUT/SOURCE-DRAWING."""
    resume: bool = False
    """Go on after the newest checkpoint, with the --epochs of before if the stage had ended. Other
    --stages and --samples may be asked for: what they lack is trained and measured."""

    def __post_init__(self) -> None:
        vj.study.each_once("--seeds", self.seeds)
        for name in ("stages", "epochs", "samples"):
            vj.study.at_least(f"--{name}", 1, getattr(self, name))
        if self.setting.patience and self.setting.warmup:  # no state of the warm-up counts
            vj.study.at_least("--epochs", self.setting.warmup + 1, self.epochs)

    @property
    def setting(self) -> Setting:
        return SETTINGS[self.source]

    def epochs_of(self, stage: Stage) -> int:
        return min(stage.epochs, self.epochs or stage.epochs)

    @property
    def folder(self) -> Path:
        """Of the models and the results."""
        at_each_use = self.setting.choices.get("binarize")
        name = self.source if at_each_use else f"{self.source}-{self.drawing}"
        return vj.files.own_path(self.out) / name


class Splits(NamedTuple):
    """Flat images, uint8 [n, pixels]."""

    train: np.ndarray
    held_out: np.ndarray
    test: np.ndarray


def load(flags: PublishedFlags) -> tuple[tuple[int, int, int], Splits]:
    """The shape of an image, and the images; where the source draws pixels once, they are drawn."""
    train, test = (vj.data.load(flags.dataset, split).images for split in ("train", "test"))
    count = len(train) - (len(train) // 6 if flags.setting.holds_out else 0)
    flat = [part.reshape(-1, train[0].size) for part in (train[:count], train[count:], test)]
    if not flags.setting.choices.get("binarize"):
        rng = np.random.default_rng(flags.drawing)
        flat = [np.uint8(255) * (255 * rng.random(part.shape, np.float32) < part) for part in flat]
    return train.shape[1:], Splits(*flat)


def planned(flags: PublishedFlags, shape: tuple[int, int, int], images: Splits) -> list[vj.Run]:
    """A run for each stage of the source."""
    widths = flags.setting.choices["encoder_widths"][::-1]
    config = vj.Config(image_shape=shape, decoder_widths=widths, **flags.setting.choices)
    drawn = "" if config.binarize else f", drawn with seed {flags.drawing}"
    split, digest = f"train[:{len(images.train)}]", vj.run.digest(images.train)
    described = vj.Images(f"{flags.dataset}{drawn}", split, train_digest=digest)
    warmup = flags.setting.warmup * vj.train.steps_per_epoch(config, len(images.train))
    runs = []
    for number, stage in enumerate(flags.setting.stages, 1):
        rate = [stage.learning_rate]
        knobs, seeds = vj.grid(config, flags.seeds, learning_rate=rate, kl_warmup=[warmup])
        runs.append(vj.Run(f"{flags.source}-{number}", described, config, knobs, seeds))
    return runs


def begun(flags: PublishedFlags, config: vj.Config, images: Splits) -> vj.train.State:
    """The state before the first step."""
    state = vj.parallel.init(config, flags.seeds)
    if flags.setting.mean_pixel:
        mean = np.clip(images.train.mean(0) / 255, 0.001, 0.999)
        layers = state.params["decoder"]["params"]
        last = layers[f"Dense_{len(config.decoder_widths)}"]
        last["bias"] = np.zeros_like(last["bias"]) + np.log(mean / (1 - mean)).astype(np.float32)
    return state


def check(runs: list[vj.Run], flags: PublishedFlags, steps_per_epoch: int) -> None:
    """Refuse a folder whose stages were trained for other numbers of epochs than are asked for. A
    stage may be unfinished if none came after it."""
    stages = flags.setting.stages
    trained = [vj.store.checkpoint.latest(flags.folder / run.name) for run in runs]
    for run, stage, step, later in zip(runs, stages, trained, [*trained[1:], None], strict=True):
        asked = flags.epochs_of(stage) * steps_per_epoch
        if step is not None and (step > asked or (later is not None and step < asked)):
            raise vj.LabError(
                f"{flags.folder / run.name} was trained for {step // steps_per_epoch} epochs: use "
                "the --epochs of before, or another --out."
            )


def train(
    run: vj.Run, flags: PublishedFlags, epochs: int, images: Splits, state: vj.train.State
) -> tuple[vj.train.State, vj.train.State]:
    """Train a stage from a state, or go on after its newest checkpoint. Returns the last state,
    with which the next stage begins, and the state that counts."""
    setting, folder, unsaved = flags.setting, flags.folder / run.name, []
    vj.store.checkpoint.create(folder, run)
    fresh = vj.store.checkpoint.latest(folder) is None
    trained = vj.trained.begin(run, state) if fresh else vj.store.restore(folder)
    state = trained.state
    best = vj.study.best.so_far(folder, run, images.held_out, state, measured=False)
    steps = vj.train.steps_per_epoch(run.config, len(images.train))
    done, patience = trained.step // steps, steps * (setting.patience or math.inf)
    plan = vj.study.plans.Plan(epochs, steps, max(1, epochs // 10), 1)

    def stopped() -> np.ndarray:
        """Which models have had no better state for as long as the source waits."""
        return np.isfinite(best.neg_elbo) & (state.step - best.state.step >= patience)

    left = 0 if stopped().all() else epochs - done
    with vj.study.progress.Bars(vj.study.terminal.Terminal(stderr=True, highlight=False)) as bars:
        bar = bars.add_run(run, plan, done)
        for now, trace in vj.parallel.advance(
            run.config, run.knobs, state, vj.parallel.replicate(images.train), left, trained=done
        ):
            done += 1
            unsaved.append(trace)
            bars.show(bar, done, trace)
            state = now.on_host()
            if setting.patience and done > setting.warmup:
                new = vj.study.best.candidate(run, images.held_out, state)
                running = new._replace(neg_elbo=np.where(stopped(), np.inf, new.neg_elbo))
                best = vj.study.best.better(best, running)
            over = done == epochs or stopped().all()
            if over or done % plan.every == 0:
                terms = [np.concatenate(parts, 1) for parts in zip(*unsaved, strict=True)]
                vj.store.checkpoint.save(
                    folder, state, vj.train.Trace(*terms), done * steps,
                    best if setting.patience else None,
                )  # fmt: skip
                unsaved.clear()
            if over:
                break
    return state, best.state if setting.patience else state


def rows_of(
    run: vj.Run, flags: PublishedFlags, stage: Stage, state: vj.train.State, images: Splits
) -> Iterator[vj.store.Row]:
    """The figures of each model on those images of which the source has numbers, else on the test
    images: the NLL may take longer than the training."""
    samples = flags.samples or flags.setting.samples
    elbo_key, nll_key = vj.study.evaluation_keys(2)
    evaluate = vj.measure.over_lanes(vj.measure.evaluate, run.config)
    importance = vj.measure.over_lanes(vj.measure.importance_nll, run.config, samples)
    for split in [split for split in ("held_out", "test") if getattr(stage, split)] or ["test"]:
        part = getattr(images, split)
        figures = vj.measure.elbo.summary(evaluate(state.params, part, elbo_key))
        figures["nll_nats"] = importance(state.params, part, nll_key).nll.mean(-1)
        for lane, seed in enumerate(run.seeds):
            yield {
                "source": flags.source, "run": run.name, "lane": lane, "seed": seed,
                "drawing": None if run.config.binarize else flags.drawing,
                "dataset": flags.dataset, "split": split, "samples": samples,
                "steps": int(state.step[lane]),
            } | {name: float(figures[name][lane]) for name in FIGURES}  # fmt: skip


def conduct(flags: PublishedFlags) -> list[vj.store.Row]:
    """Train and measure all stages: a row for each stage, split and seed."""
    results = flags.folder / vj.store.records.RESULTS
    if any(flags.folder.glob("[!.]*")) and not flags.resume:
        raise vj.LabError(f"{flags.folder} holds results: use --resume, or another --out.")
    shape, images = load(flags)
    runs, rows = planned(flags, shape, images), vj.store.records.read(results)
    samples = flags.samples or flags.setting.samples
    check(runs, flags, vj.train.steps_per_epoch(runs[0].config, len(images.train)))
    state = begun(flags, runs[0].config, images)
    runs = runs[: flags.stages]
    for run, stage in zip(runs, flags.setting.stages, strict=False):
        state, counts = train(run, flags, flags.epochs_of(stage), images, state)
        if state.diverged.any():
            raise vj.LabError(f"A model of {run.name} diverged: its numbers are not finite.")
        known = vj.study.matching(rows, run=run.name, samples=samples)
        if {(row["lane"], row["steps"]) for row in known} != set(enumerate(counts.step.tolist())):
            rows = [row for row in rows if row["run"] != run.name]
            rows += rows_of(run, flags, stage, counts, images)
            vj.store.records.write(results, rows)
    return [row for run in runs for row in vj.study.matching(rows, run=run.name)]


class Compared(NamedTuple):
    """A figure after a stage, beside the published one: the cells of a line."""

    steps: str
    """Of the states that count, averaged over models."""
    images: str
    figure: str
    published: str
    """Empty: the source does not say, or measured other images."""
    here: str
    """The mean over models and its standard deviation."""
    models: str


def compare(rows: list[vj.store.Row]) -> Iterator[Compared]:
    """The rows of a source, of whichever seeds and drawings, beside what it published."""
    for run, split in dict.fromkeys((row["run"], row["split"]) for row in rows):
        found = vj.study.matching(rows, run=run, split=split)
        stage = SETTINGS[found[0]["source"]].stages[int(run.rpartition("-")[2]) - 1]
        published = (getattr(stage, split) or {}) if found[0]["dataset"] == "mnist" else {}
        steps = f"{np.mean([row['steps'] for row in found]):,.0f}"
        for name in FIGURES:
            known = f"{published[name]:g}" if name in published else ""
            here = np.array([row[name] for row in found])
            spread = f" ± {here.std(ddof=1):.2f}" if len(here) > 1 else ""
            yield Compared(
                steps, split.replace("_", " "), vj.study.words.of_column(name), known,
                f"{here.mean():.2f}{spread}", str(len(here)),
            )  # fmt: skip


def table(rows: list[vj.store.Row]) -> Table:
    title = f"{SETTINGS[rows[0]['source']].work}: mean ± standard deviation over models"
    shown = Table("steps", "images", "", "published", "here", "models", title=title)
    for one in compare(rows):
        shown.add_row(*one)
    return shown


def main() -> None:
    with vj.study.failing_clearly():
        flags = vj.study.parse(PublishedFlags, __doc__)
        vj.study.environment.prepare()
        with vj.study.lock.held(flags.folder):
            rows = conduct(flags)
        vj.study.terminal.console().print(table(rows))


if __name__ == "__main__":
    main()
