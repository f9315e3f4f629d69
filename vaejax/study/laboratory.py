"""`Lab`: the flags, images, folder and runs of one study, with statistics of the images that are
worked out once. Also the images of a run that is on disk."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np

from vaejax.config import Config, Scale
from vaejax.data import dataset, names, splits
from vaejax.errors import LabError
from vaejax.measure import collapse, samples, spectrum
from vaejax.measure.batched import over_lanes
from vaejax.parallel import processes
from vaejax.run import ARRAY, Run, digest
from vaejax.store import checkpoint
from vaejax.store.records import Row
from vaejax.study import environment
from vaejax.study.flags import Flags, Size
from vaejax.study.keys import evaluation_key
from vaejax.study.plans import plan
from vaejax.study.views import Pictures, unit_pixels
from vaejax.theory import components, linear, threshold
from vaejax.trained import Trained

F = TypeVar("F", bound=Flags)
HELD_OUT = 10
"""`--keep-best` holds out one of so many training images, the last ones."""


@dataclass
class Lab(Generic[F]):
    """What a page works with. Images are flat: [n, pixels] uint8."""

    flags: F
    folder: Path
    """The folder of this study."""
    shape: tuple[int, int, int]
    """Height, width and channels of an image."""
    train: np.ndarray
    """The training images."""
    test: np.ndarray
    """The test images."""
    test_labels: np.ndarray
    """The class of each test image: [n]."""
    split: str
    """The training images, in TFDS syntax."""
    runs: dict[str, Run] = field(default_factory=dict)
    """The runs of the study by name, once they are planned."""
    pieces: Sequence[splits.Piece] = ()
    """`split`, as pieces of base splits; none given: so many from the first one of `train` on."""
    test_split: str = "test"
    """The test images, in TFDS syntax."""
    held_out: np.ndarray | None = None
    """With `--keep-best` the images that choose the best state. They are not among `train`."""
    epochs: dict[str, int] = field(default_factory=dict)
    """The epochs of runs that do not train as long as the flags say, by name."""
    other_studies: Sequence[Path] = ()
    """The folders of studies whose trained runs this one takes over where its own are the same."""
    _spaces: dict[int, components.PCA] = field(default_factory=dict, init=False, repr=False)
    _thresholds: dict[Any, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _digests: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.pieces = self.pieces or [splits.Piece("train", 0, len(self.train))]

    @property
    def dataset(self) -> str:
        """The name of the data set, as titles have it."""
        return self.flags.source.name

    @cached_property
    def moments(self) -> components.Moments:
        """Mean and covariance of the training images, pixels in [0, 1]."""
        return components.moments(self.train)

    def with_images(self, run: Run) -> Run:
        """A run that says which images it is trained on, those of its split, and measured on."""
        split = run.images.train
        if split not in self._digests:
            self._digests[split] = digest(self.images(split))
        of_run = replace(
            run.images,
            test=self.test_split,
            train_digest=self._digests[split],
            test_digest=self.test_digest,
            held_out_digest=None if self.held_out is None else digest(self.held_out),
        )
        return replace(run, images=of_run)

    @cached_property
    def test_digest(self) -> str:
        return digest(self.test)

    @cached_property
    def mean_image(self) -> np.ndarray:
        """The mean of the training images: [height, width, channels], pixels in [0, 1]."""
        return (self.train.mean(0) / 255).reshape(self.shape).astype(np.float32)

    @cached_property
    def reference(self) -> samples.Reference:
        """The moments of the test images in principal components of the training images, with which
        prior samples are compared."""
        return samples.reference(self.pca(samples.FEATURES), self.train, self.test)

    def pca(self, count: int) -> components.PCA:
        """The first principal components of the training images, or all if there are fewer
        pixels."""
        count = min(count, self.train.shape[1])
        if count not in self._spaces:
            self._spaces[count] = components.principal_components(self.moments, count)
        return self._spaces[count]

    def images(self, split: str) -> np.ndarray:
        """The training images of a split, such as that of a run.

        Raises:
            LabError: some of them are not among the training images.
        """
        if split == self.split:
            return self.train
        sizes: dict[str, int] = {}
        for piece in self.pieces:
            sizes[piece.split] = max(piece.stop, sizes.get(piece.split, 0))
        places = map(self._place, splits.resolve(split, sizes))
        parts = [self.train[start:stop] for start, stop in places]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _place(self, wanted: splits.Piece) -> tuple[int, int]:
        """From where to where a piece is in `train`."""
        before = 0
        for name, start, stop in self.pieces:
            if wanted.split == name and start <= wanted.start and wanted.stop <= stop:
                return before + wanted.start - start, before + wanted.stop - start
            before += stop - start
        raise LabError(
            f"split '{splits.spelled([wanted])}' is not among the training images '{self.split}'."
        )

    def first(self, count: int) -> str:
        """The split of the first `count` training images.

        Raises:
            LabError: there are fewer.
        """
        if count > len(self.train):
            raise LabError(f"{count} images: there are {len(self.train):,} for training.")
        return splits.spelled(splits.take(list(self.pieces), count))

    def thresholds(self, config: Config, split: str | None = None) -> np.ndarray:
        """The threshold of each direction of the training images, or of those of another split, at
        kl_weight 1 (`theory.thresholds_of`): an entry for each pixel, rising.

        Raises:
            LabError: an AE, or too many pixels.
        """
        split = split or self.split
        names = ("model", "likelihood", "decoder_variance", "pixel_range", "binarize")
        known = (split, *(getattr(config, name) for name in names))  # nets and sizes do not matter
        if known not in self._thresholds:
            own = split == self.split
            moments = self.moments if own else components.moments(self.images(split))
            self._thresholds[known] = threshold.thresholds_of(config, moments, config.pixels)
        return self._thresholds[known]

    def first_threshold(self, config: Config) -> float:
        """The recon_scale below which, at kl_weight 1, the collapsed solution is stable: for a
        study that trains at scales around it.

        Raises:
            LabError: the training images do not vary, so that there is none; see `thresholds`.
        """
        first = float(self.thresholds(config)[0])
        if math.isinf(first):
            raise LabError(
                f"The {len(self.train)} training images of {self.flags.dataset} are all equal: no "
                "latent unit pays for its KL at any recon_scale, so there is no threshold to train "
                "around. Use images that differ."
            )
        return first

    def latent_sizes(
        self, sizes: Sequence[Size], scale: Scale, split: str | None = None, **choices: Any
    ) -> list[int]:
        """Latent sizes as numbers, each once. `enough` is the number of units that pay for their KL
        at this recon_scale, on the training images or on those of another split, rounded up to a
        power of two, and at least 2. The choices are those of the Config, see `config`.

        Raises:
            LabError: `enough` with a kl_weight of 0.
        """
        weight = self.flags.kl_weight
        if "enough" in sizes and not weight:
            raise LabError(
                "--latent-sizes enough: with --kl-weight 0 all units pay; give numbers of units."
            )

        def number(size: Size) -> int:
            if size != "enough":
                return size
            config = self.config(**choices)
            at = config.elbo_scale if scale == "elbo" else scale
            thresholds = self.thresholds(config, split)
            units = int(threshold.predicted_units(thresholds, at, weight, len(thresholds)))
            return 2 ** max(1, math.ceil(math.log2(max(units, 1))))

        return list(dict.fromkeys(map(number, sizes)))

    def pictures(self, images: np.ndarray) -> Pictures:
        """Flat images as pictures with pixels in [0, 1]."""
        return unit_pixels(images, self.shape)

    def compressed(self, images: np.ndarray, count: int) -> Pictures:
        """Flat images as so many principal components of the training images keep them: the least
        squared error that a linear code of this size has."""
        return components.compress(self.pca(count), images, count).reshape(-1, *self.shape)

    def best_linear(
        self, config: Config, settings: Mapping[str, float], images: np.ndarray
    ) -> Pictures:
        """Flat images as the best linear VAE of this latent size decodes them from their posterior
        means (`theory.linear_reconstructions`), at the recon_scale and the positive kl_weight of a
        lane. It has squared error and a fixed variance."""
        space = self.pca(config.latent_size)
        weights = settings["recon_scale"], config.pixels, settings["kl_weight"]
        variance = linear.decoder_variance(*weights)
        decoded = linear.linear_reconstructions(config, space, images, variance)
        return decoded.reshape(-1, *self.shape)

    def sharpness(self, outputs: Pictures, images: np.ndarray) -> Row:
        """`measure.sharpness` of what a model makes of flat images, about the mean of the training
        images."""
        return spectrum.sharpness(outputs, self.pictures(images), self.mean_image)

    def sharpness_of_pca(self, images: np.ndarray, count: int) -> Row:
        """`sharpness` of flat images that so many principal components keep; each name begins with
        `pca_`."""
        found = self.sharpness(self.compressed(images, count), images)
        return {f"pca_{name}": value for name, value in found.items()}

    def config(self, **choices: Any) -> Config:
        """The Config that the flags ask for, with the study's own choices on top."""
        return self.flags.config(self.shape, **choices)

    def sized(self, latent_size: int, **choices: Any) -> Config:
        """`config` for a latent size, with no hidden layer narrower than the mean and the log
        variance of the code together."""
        widths = tuple(max(width, 2 * latent_size) for width in self.flags.widths)
        hidden = {"encoder_widths": widths, "decoder_widths": widths[::-1]}
        return self.config(latent_size=latent_size, **(hidden | choices))

    def steps(self, config: Config) -> float:
        """The steps of a run of this Config on all training images."""
        return float(plan(self.flags, config, len(self.train), until_converged=False).steps)

    def trained(self, name: str) -> Trained:
        """The run of this name, as its newest checkpoint left it, but without the state of the
        optimizer: two thirds of a state, and no measurement needs it."""
        environment.give_back()  # room for the optimizer, which is read, too
        found = checkpoint.restore(self.folder / name, self.runs[name].config.nets)
        return found._replace(state=found.state._replace(opt_state=None))

    def distances(self, trained: Trained, key: Any) -> list[float]:
        """The Frechet distance between prior samples and the test images for each lane, in squared
        pixel units. There are as many samples as test images."""
        return samples.sample_distances(
            trained.run.config, trained.state.params, self.reference, len(self.test), key
        )


def load(flags: F, study: str) -> Lab[F]:
    """The `Lab` of a study: its flags, its folder, and the training and test images."""
    opened = dataset.open_source(flags.source)
    train = dataset.take(opened, flags.train, flags.train_images)
    test = dataset.take(opened, flags.test, flags.test_images)
    notes = [*opened.notes]
    for found, split in ((train, flags.train), (test, flags.test)):
        if len(found.images) < 2:
            raise LabError(
                f"The split '{split}' of {flags.dataset} holds a single image, which has no "
                "variance: use a data set with two or more."
            )
        whole = dataset.take(opened, split)
        classes, of = (len(np.unique(images.labels)) for images in (found, whole))
        if classes < of:
            notes.append(f"the first {len(found.labels):,} images are of {classes} of {of} classes")
    flat = train.flat
    held_out = len(flat) // HELD_OUT if flags.keep_best else 0
    if flags.keep_best and not held_out:
        raise LabError(
            f"--keep-best holds out one of {HELD_OUT} training images, and there are only "
            f"{len(flat)}: use more, or leave it out."
        )
    count = len(flat) - held_out
    pieces = splits.take(splits.resolve(flags.train, opened.sizes), count)
    of_test = splits.take(splits.resolve(flags.test, opened.sizes), flags.test_images)
    if both := splits.shared(pieces, of_test):
        notes.append(f"{both:,} images are for training and for test")
    say(*notes)
    return Lab(
        flags,
        flags.folder / study,
        train.images.shape[1:],
        flat[:count],
        test.flat,
        test.labels,
        splits.spelled(pieces) if flags.train_images or flags.keep_best else flags.train,
        pieces=pieces,
        test_split=splits.spelled(of_test) if flags.test_images else flags.test,
        held_out=flat[count:] if flags.keep_best else None,
    )


def say(*notes: str) -> None:
    """Lines about the images, from the first process."""
    if processes.is_first():
        for note in notes:
            print(note, file=sys.stderr)


def images_of(run: Run, which: Literal["train", "test"]) -> dataset.Dataset:
    """The images that a run was trained on, or those that it was measured on, with their labels.

    Raises:
        LabError: see `vaejax.data.load`; or the images are not those of the run.
    """
    images, colour = run.images, cast(names.Colour | None, run.images.colour)
    if images.dataset == ARRAY and images.path is None:
        raise LabError(f"The run {run.name} was trained on an array: --dataset names its images.")
    source = names.Source(images.dataset, images.path, images.resize, colour, images.white)
    split, known = getattr(images, which), getattr(images, f"{which}_digest")
    found = dataset.take(dataset.open_source(source), split)
    if found.images.shape[1:] != run.config.image_shape or known not in (None, digest(found.flat)):
        raise LabError(
            f"The images of {images.path or images.dataset} are not those of the run {run.name}: "
            "restore those, or name their place with --dataset."
        )
    return found


def with_images_at(run: Run, place: str | None) -> Run:
    """A run whose images are at another place now; None: where they were."""
    if place is None:
        return run
    found = names.source(place)
    return replace(run, images=replace(run.images, dataset=found.name, path=found.path))


def images_like(run: Run, place: str, white: float | None = None) -> dataset.Dataset:
    """All images at a place, new to a run, in the size and colours of its own."""
    colour = cast(names.Colour | None, run.images.colour)
    opened = dataset.open_source(names.source(place, run.images.resize, colour, white), whole=True)
    say(*opened.notes)
    found = dataset.take(opened, "all")
    if (shape := found.images.shape[1:]) != run.config.image_shape:
        raise LabError(
            f"The images of {place} are of {list(shape)}, height, width and channels, and those of "
            f"the run {run.name} of {list(run.config.image_shape)}."
        )
    return found


def join(flags: Flags) -> None:
    """Before any other use of jax: join the other processes, if there are any, and give jax the
    settings of the lab."""
    if flags.distributed:
        wait = flags.connect_timeout
        print(f"waiting for the other processes, up to {wait} s", file=sys.stderr)
        processes.connect(flags.coordinator, flags.processes, flags.process_id, wait)
    environment.prepare()


def on_lanes(
    function: Callable[..., Any], trained: Trained, images: np.ndarray, key: Any, *static: Any
) -> Any:
    """Apply `function(config, params, images, key, *static)`, such as `measure.evaluate`, to every
    lane of a trained run. All lanes get the same images [n, pixels] and the same key. Arrays in the
    result have a leading lane axis. The compiled function is kept."""
    lifted = over_lanes(function, trained.run.config, *static)
    return lifted(trained.state.params, images, key)


def rows_of(trained: Trained, figures: dict[str, Any]) -> list[Row]:
    """Figures as a row for each lane. A figure is a number that all lanes share, or has an entry
    for each lane."""
    on_host = {name: np.asarray(figure) for name, figure in figures.items()}
    return [
        {name: figure[lane] if figure.ndim else figure[()] for name, figure in on_host.items()}
        for lane in range(len(trained.run.seeds))
    ]


def collapse_rows(trained: Trained, images: np.ndarray) -> list[Row]:
    """The figures and the verdict of `measure.collapse` on these images, a row for each lane; no
    verdict on a lane that diverged."""
    config, state = trained.run.config, trained.state
    figures = collapse.collapse_figures(config, state.params, images, evaluation_key())
    rows = rows_of(trained, figures)
    for row, diverged in zip(rows, np.asarray(state.diverged), strict=True):
        if not diverged:
            found = collapse.judge_collapse(row)
            row |= {"collapse": found.verdict, "dead_units": found.dead_units}
    return rows
