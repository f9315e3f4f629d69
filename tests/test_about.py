"""study.about: the command that asks for the same results, and what stands below a figure."""

import shlex
from typing import Any

import pytest

import vaejax as vj
from tests import tiny
from vaejax.study import about

SILENT = shlex.split(
    "--all-columns --format svg --resume --out here --checkpoint-every 3 --log jsonl"
)
"""Flags that change no result, and are in no command."""


@pytest.mark.parametrize(
    ("study", "arguments", "words"),
    [
        ("latent_size", "", ""),
        ("latent_size", "--seeds 0 1 2 --batch-size 128", ""),  # as by default
        ("latent_size", "--steps 7 --dataset digits", "--dataset digits --steps 7"),
        ("latent_size", "--recon-scale elbo --nll-samples 20", "--nll-samples 20"),
        ("latent_size", "--recon-scale 1", "--recon-scale 1"),
        ("latent_size", "--learning-rate 0.00123456789", "--learning-rate 0.00123456789"),
        ("latent_size", "--kl-warmup 1e-09 --binarize", "--kl-warmup 1e-09 --binarize"),
        ("latent_size", "--widths", "--widths"),
        ("latent_size", "--quick", "--quick"),
        ("latent_size", "--nll-samples 20 --quick --seeds 0 1", "--quick"),  # as by --quick
        ("latent_size", "--quick --test-images None", "--test-images None --quick"),
        ("latent_size", "--quick --nll-samples 100", "--quick --nll-samples 100"),
        ("blur", "--latent-sizes 2 enough", "--latent-sizes 2 enough"),
        ("recon_scale", "--no-centre-inputs", "--no-centre-inputs"),
        ("recon_scale", "--recon-scale 1 46.2412345 6000", "--recon-scale 1 46.2412345 6000"),
        ("many_units", "--recon-scale elbo 60", "--recon-scale elbo 60"),
        ("latent_size", "--start v1.0", "--start v1.0"),
        ("dead_or_slow", "--train-images None", "--train-images None"),
        ("hidden_pixels", "--quick --columns 1 8", "--quick --columns 1 8"),
    ],
)
def test_a_command_has_the_flags_that_are_not_as_by_default(study, arguments, words) -> None:
    """And asks for the same ones again."""
    page = tiny.page(study).STUDY
    flags = tiny.flags_of(study, *arguments.split(), *SILENT)
    command = about.command(page, flags)
    assert command == f"python -m experiments.{study} {words}".strip()
    again = tiny.flags_of(study, *shlex.split(command)[3:], *SILENT)
    assert again == flags


def rows(scales: list[float], **noise: Any) -> list[vj.store.Row]:
    """Rows of two seeds for each scale; of the noise there is a value for each scale."""
    return [
        {"seed": seed, "recon_scale": scale} | {name: of[at] for name, of in noise.items()}
        for seed in (1, 0)
        for at, scale in enumerate(scales)
    ]


@pytest.mark.parametrize(
    ("found", "weights"),
    [
        (
            rows([6000.0, 1.0], effective_sigma=[0.0730297, 5.65685], effective_beta=[1.0, 2.0]),
            "Effective sigma at each recon_scale: 5.66 at 1, 0.073 at 6000.",
        ),
        (
            rows([1.0, 32.0], effective_sigma=[5.0, None], effective_beta=[32.0, 1.0]),
            "Effective beta at each recon_scale: 32 at 1, 1 at 32.",
        ),
        (
            rows([float(scale) for scale in range(1, 8)], effective_beta=[7.0, *[3.0] * 5, 1.0]),
            "Effective beta at each recon_scale: 7 at 1, 1 at 7 (first and last recon_scale).",
        ),
        (rows([1.0], effective_sigma=[None]), ""),
    ],
)
def test_a_caption_has_the_command_the_seeds_and_what_the_scales_amount_to(found, weights) -> None:
    command, seeds = about.caption("python -m page --quick", found).splitlines()
    assert command == "python -m page --quick"
    assert seeds == f"Seeds 0, 1. {weights}"
