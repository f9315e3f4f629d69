"""What the explorer shows of trained models, as plain values: their weights, some test images, what
was measured on the test images, and what the linear theory predicts from the training images.

`explorer.page` makes a page of it, in which the encoder and the decoder run again.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from vaejax import model
from vaejax.config import Config
from vaejax.data.contents import is_vectors
from vaejax.errors import LabError
from vaejax.measure.activity import ACTIVE_VARIANCE
from vaejax.measure.batched import lane_of, over_lanes
from vaejax.measure.elbo import evaluate, summary
from vaejax.parallel import memory
from vaejax.run import Run
from vaejax.store import checkpoint, records
from vaejax.study import provenance
from vaejax.study.keys import evaluation_key, figure_key
from vaejax.study.laboratory import images_of
from vaejax.theory import components, threshold
from vaejax.trained import Trained

Weights = Literal["float16", "float32"]
SMALL = 6.0
"""Megabytes of a page that opens at once on a phone."""
PICTURES = {False: "grey", True: "drawn"}
"""What the test images are called as a model sees them that does not binarize, or does."""
WEIGHT_TYPES = {"float16": "<f2", "float32": "<f4"}
MEGABYTE = 1_000_000
CURVE_POINTS = 160
"""Scales at which the predicted KL is worked out for its curve."""
STRIP = 10
"""Test images in the strip of reconstructions: the first of each class, then the next ones."""
CLASS_NAMES = {
    "cifar10": (
        *("aeroplane", "car", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "lorry"),
    ),
    "fashion_mnist": (
        *("T-shirt", "trousers", "pullover", "dress", "coat"),
        *("sandal", "shirt", "trainer", "bag", "boot"),
    ),
    "patches": ("photograph of china", "photograph of a flower"),
}
"""The words for the classes of data sets in which a class is not a number."""


class Part(NamedTuple):
    """The models that the explorer shows side by side, along one slider: lanes of one run and one
    seed that differ in recon_scale alone."""

    folder: Path
    run: Run
    lanes: tuple[int, ...]
    """By rising recon_scale."""
    name: str
    """The name of the run, with the settings that tell this part from others of the run."""


class Chosen(NamedTuple):
    """What of a folder will be shown."""

    parts: list[Part]
    left_out: list[str]
    """A line for each run or lane that cannot be shown."""


class Exploration(NamedTuple):
    """What the page is made of."""

    page: dict[str, Any]
    """JSON values."""
    weights: dict[str, str]
    """By the name that `page` gives to each model: all its weights, in base64."""


def explore(folder: Path, chosen: Chosen, images: int, weights: Weights = "float16") -> Exploration:
    """Everything that the page shows of the chosen models.

    Args:
        images: test images on the page, from the first on.

    Raises:
        LabError: a checkpoint or the data set cannot be read, a weight is too large for float16,
            or all models diverged.
    """
    first = chosen.parts[0].run
    tests = {part.run.images: images_of(part.run, "test").flat for part in chosen.parts}
    charged = {part.run.images: part.run for part in chosen.parts if _is_charged(part)}
    moments = {of: components.moments(images_of(run, "train").flat) for of, run in charged.items()}
    seen = {part.run.config.binarize: part.run.config for part in chosen.parts}
    texts: dict[str, str] = {}
    parts, left_out = [], list(chosen.left_out)
    for number, part in enumerate(chosen.parts):
        trained = checkpoint.restore(part.folder)
        diverged = np.asarray(trained.state.diverged)
        left_out += [
            f"{part.name}, recon_scale {part.run.lanes[lane]['recon_scale']:g}: this model "
            "diverged in training."
            for lane in part.lanes
            if diverged[lane]
        ]
        finite = part._replace(lanes=tuple(lane for lane in part.lanes if not diverged[lane]))
        if finite.lanes:
            of = part.run.images
            parts.append(
                part_page(finite, trained, f"weights-{number}", tests[of], moments.get(of))
            )
            for lane, shown in zip(finite.lanes, parts[-1]["models"], strict=True):
                params = lane_of(trained.state.params, lane)
                texts[shown["weights"]] = weights_text(part.run.config, params, weights)
    if not parts:
        raise LabError(
            f"{folder}: nothing to explore. {' '.join(left_out)} Train again with a lower "
            "--learning-rate, or choose another --seed."
        )
    labels = np.asarray(images_of(first, "test").labels)[:images]
    mean = np.rint(images_of(first, "train").flat.mean(0)).astype(np.uint8)
    words = CLASS_NAMES.get(first.images.dataset.split(":")[0])
    page = {
        "folder": "/".join(folder.resolve().parts[-2:]),
        "dataset": first.images.dataset,
        "shape": list(first.config.image_shape),
        "active_variance": ACTIVE_VARIANCE,
        "weights": weights,
        "labels": labels.tolist(),
        "class_names": None if first.images.path else words,
        "mean_image": _text(mean),
        "pictures": {
            PICTURES[drawn]: _text(as_seen(config, tests[first.images][:images]))
            for drawn, config in seen.items()
        },
        "strip": strip(labels),
        "parts": parts,
        "left_out": left_out,
    }
    return Exploration(records.plain(page), texts)


def part_page(
    part: Part,
    trained: Trained,
    name: str,
    images: UInt8[np.ndarray, "n pixels"],
    moments: components.Moments | None,
) -> dict[str, Any]:
    """A part as the page knows it, with a dict for each of its models.

    Args:
        name: how the names of the weights begin.
        images: the test images of its run.
        moments: those of the training images; None for models without a threshold.
    """
    run, lanes = part.run, list(part.lanes)
    stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[lanes], trained.state.params)
    measured = measured_rows(run.config, stacked, images)
    theory, predicted = predictions(part, moments)
    sigmas, betas = provenance.effective(run)
    config = run.to_json()["config"]
    centred = config["centre_inputs"] and config["pixel_range"] == "unit"
    return {
        "name": part.name,
        "run": run.name,
        "about": about(run.config),
        "split": run.images.train,
        "test": run.images.test,
        "steps": trained.step,
        "config": config | {"centre": 0.5 if centred else 0.0},
        "pictures": PICTURES[run.config.binarize],
        "test_images": len(images),
        "theory": theory,
        "models": [
            {
                "weights": f"{name}-{lane}",
                "lane": lane,
                "effective_sigma": sigmas[lane],
                "effective_beta": betas[lane],
                **run.lanes[lane],
                **measured[index],
                **predicted[index],
            }
            for index, lane in enumerate(lanes)
        ],
    }


def choose(folder: Path, seed: int | None = None, runs: Sequence[str] = ()) -> Chosen:
    """The models of one seed in a folder, which is that of a run or of a study.

    Args:
        seed: None: the first seed of each run.
        runs: the names of the runs to show; none: all.
    """
    folders = run_folders(folder)
    if unknown := sorted(set(runs) - {one.name for one in folders}):
        raise LabError(
            f"--runs {' '.join(unknown)}: {folder} holds {', '.join(one.name for one in folders)}."
        )
    parts: list[Part] = []
    left_out: list[str] = []
    seeds: set[int] = set()
    for one in folders:
        if runs and one.name not in runs:
            continue
        if reason := unusable(one):
            left_out.append(f"{one.name}: {reason}")
            continue
        run = checkpoint.read_run(one)
        if is_vectors(run.config.image_shape):
            left_out.append(f"{one.name}: trained on vectors, and the page shows pictures.")
            continue
        seeds |= set(run.seeds)
        parts += parts_of(one, run, run.seeds[0] if seed is None else seed)
    if not parts and left_out:
        raise LabError(f"{folder} holds no model to explore. {' '.join(left_out)}")
    if not parts:
        raise LabError(f"--seed {seed}: the seeds of {folder} are {sorted(seeds)}.")
    parts.sort(key=lambda part: (part.run.config.latent_size, part.run.name))
    return Chosen(parts, left_out)


def run_folders(folder: Path) -> list[Path]:
    """The folder itself if it is that of a run, or the folders of the runs in it."""
    if (folder / "config.json").exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/config.json"))
    if not found:
        raise LabError(
            f"{folder} holds no config.json, and no folder in it does: give the folder of a run, "
            "such as checkpoints/mnist/latent_size/z2, or that of a study, such as "
            "checkpoints/mnist/recon_scale."
        )
    return found


def unusable(folder: Path) -> str | None:
    """Why the run in a folder cannot be shown; None if it can."""
    if nets := checkpoint.nets_of(folder):
        return (
            f"trained with nets of its own ({nets}). The page runs only the MLPs of vaejax.model. "
            "In Python, vj.store.restore(folder, nets) opens it and vj.study.views shows it."
        )
    if checkpoint.latest(folder) is None:
        return "holds no checkpoint yet; continue its training with --resume."
    return None


def parts_of(folder: Path, run: Run, seed: int) -> list[Part]:
    """The lanes of a seed, divided such that within a part they differ in recon_scale alone. Lanes
    that are alike in all knobs are told apart by their order."""
    varied = [name for name in run.differing if name not in ("seed", "recon_scale")]
    met: Counter[tuple[str, float]] = Counter()
    groups: dict[str, list[int]] = {}
    for index, lane in enumerate(run.lanes):
        if lane["seed"] == seed:
            name = ", ".join([run.name, *(f"{knob} {lane[knob]:g}" for knob in varied)])
            met[name, lane["recon_scale"]] += 1
            if (times := met[name, lane["recon_scale"]]) > 1:
                name += f", repetition {times}"
            groups.setdefault(name, []).append(index)

    def scale(lane: int) -> float:
        return run.lanes[lane]["recon_scale"]

    return [
        Part(folder, run, tuple(sorted(lanes, key=scale)), name) for name, lanes in groups.items()
    ]


def weights_that_fit(parts: Sequence[Part], images: int) -> Weights:
    """float32, with which the page is exact, if it is then smaller than `SMALL` megabytes; else
    float16."""
    numbers = sum(len(part.lanes) * memory.parameters(part.run.config) for part in parts)
    size = 4 * numbers + images * parts[0].run.config.pixels
    return "float32" if size * 4 / 3 < SMALL * MEGABYTE else "float16"  # base64: 4 bytes for 3


def weights_text(config: Config, params: model.Params, weights: Weights) -> str:
    """All weights of one model in base64: of each layer the kernel [inputs, outputs], row by
    row, and then the bias."""
    arrays = [
        params[net]["params"][f"Dense_{layer}"][name]
        for net, widths in (("encoder", config.encoder_widths), ("decoder", config.decoder_widths))
        for layer in range(len(widths) + 1)
        for name in ("kernel", "bias")
    ]
    with np.errstate(over="ignore"):
        stored = [np.asarray(array).ravel().astype(WEIGHT_TYPES[weights]) for array in arrays]
    if not all(np.isfinite(array).all() for array in stored):
        raise LabError("A weight is too large for float16: use --weights float32.")
    return base64.b64encode(b"".join(array.tobytes() for array in stored)).decode()


def measured_rows(
    config: Config, stacked: model.Params, images: UInt8[np.ndarray, "n pixels"]
) -> list[dict[str, Any]]:
    """What was measured on the test images, for each of stacked models; with the key of the
    studies, and so with their numbers. KL in nats; an AE has none."""
    key = jax.random.split(evaluation_key())[0]  # as `measure.collapse_figures` does
    evaluation = over_lanes(evaluate, config)(stacked, images, key)
    figures = summary(evaluation) | {"variance_per_unit": jnp.var(evaluation.mean, axis=-2)}
    names = ("kl_nats", "mse", "active_units", "kl_per_unit_nats", "variance_per_unit")
    found = {name: np.asarray(figures[name]) for name in names}
    if config.decoder_variance == "learned":
        found["decoder_sigma"] = np.exp(np.asarray(stacked["log_sigma"]))
    models = len(found["mse"])
    return [{name: values[index] for name, values in found.items()} for index in range(models)]


def about(config: Config) -> str:
    """What kind of model it is, and of which layers, in words."""
    kind = "Autoencoder" if config.model == "ae" else "VAE"
    variance = " of learned variance" if config.decoder_variance == "learned" else ""
    error = {
        "bernoulli": "cross entropy (a Bernoulli likelihood)",
        "gaussian": f"squared error (a Gaussian likelihood{variance})",
    }[config.likelihood]
    return f"{kind} of layers {provenance.layers(config)}; its error is {error}"


def predictions(
    part: Part, moments: components.Moments | None
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """What the linear theory says of a part, and of each of its models.

    None where nothing is predicted: for an AE, and where not every nat of KL has a cost at the end
    of training. Thresholds are recon_scales; those of directions without variance are left out.
    With a learned variance the KL is not predicted, since the variance moves the thresholds once
    units wake.
    """
    run, size = part.run, part.run.config.latent_size
    names = ("predicted_units", "units_that_pay", "predicted_kl_per_unit")
    if moments is None or not _is_charged(part):
        return None, [dict.fromkeys(names) for _ in part.lanes]
    weight = run.lanes[part.lanes[0]]["kl_weight"]
    scales = np.array([run.lanes[lane]["recon_scale"] for lane in part.lanes])
    at_one = threshold.thresholds_of(run.config, moments, run.config.pixels)
    kl = [None] * len(scales)
    thresholds = weight * at_one[:size]
    theory: dict[str, Any] = {"thresholds": thresholds[np.isfinite(thresholds)], "curve": None}
    if run.config.decoder_variance != "learned":
        units = at_one[:size, None]
        kl = np.stack([threshold.predicted_kl(unit, scales, weight, 1) for unit in units], -1)
        if len(theory["thresholds"]):
            marks = (*scales, theory["thresholds"][0])
            at = np.geomspace(min(marks) / 2, max(marks) * 2, CURVE_POINTS)
            predicted = threshold.predicted_kl(at_one, at, weight, size)
            theory["curve"] = {"scale": at, "kl": predicted}
    columns = (
        threshold.predicted_units(at_one, scales, weight, size),
        threshold.predicted_units(at_one, scales, weight, len(at_one)),
        kl,
    )
    return theory, [dict(zip(names, model, strict=True)) for model in zip(*columns, strict=True)]


def as_seen(config: Config, images: UInt8[np.ndarray, "n pixels"]) -> UInt8[np.ndarray, "n pixels"]:
    """Images as a model sees them: as they are, or with each pixel drawn if it binarizes."""
    if not config.binarize:
        return images
    x = model.to_pixels(config, jnp.asarray(images), figure_key())
    return (np.asarray(x) * 255).astype(np.uint8)


def strip(labels: np.ndarray) -> list[int]:
    """The numbers of the test images in the strip: the first of each class, in the order of the
    classes, and then others from the first on."""
    _, firsts = np.unique(labels, return_index=True)
    return list(dict.fromkeys((*firsts.tolist(), *range(len(labels)))))[:STRIP]


def _is_charged(part: Part) -> bool:
    """Whether every nat of KL has a cost at the end of training, for each of its models."""
    return bool(threshold.charged_lanes(part.run)[list(part.lanes)].all())


def _text(array: UInt8[np.ndarray, "..."]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
