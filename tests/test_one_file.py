"""docs/examples/one_file_vae.py does what the lab does."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaejax as vj

FILE = Path(__file__).parents[1] / "docs" / "examples" / "one_file_vae.py"


@pytest.fixture(scope="module")
def one_file() -> ModuleType:
    spec = importlib.util.spec_from_file_location("one_file_vae", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_losses_and_samples_are_those_of_the_lab_from_the_same_seed(one_file) -> None:
    images = vj.data.load("digits").images.reshape(-1, 64)
    seed, hidden, latent, batch_size = 3, 8, 2, 128
    config = vj.Config(
        image_shape=(8, 8, 1),
        latent_size=latent,
        encoder_widths=(hidden,),
        decoder_widths=(hidden,),
        batch_size=batch_size,
    )
    lanes, seeds = vj.grid(config, (seed,))
    on_devices, fresh = vj.parallel.replicate(images), vj.parallel.init(config, seeds)
    vae = one_file.VAE(64, hidden, latent)
    init_key, *keys = jax.random.split(jax.random.key(seed), 3)
    own = one_file.init(vae, init_key)
    for of_lab, trace in vj.parallel.advance(config, lanes, fresh, on_devices, epochs=3):
        own, losses = one_file.epoch(vae, jnp.stack(keys), own, jnp.asarray(images), batch_size)
        np.testing.assert_allclose(losses, trace.objective[0], rtol=1e-5)
        lane = vj.measure.lane_of(of_lab.on_host().params, 0)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), own.params, lane
        )
        key = jax.random.key(0)
        np.testing.assert_allclose(
            one_file.sample(vae, own.params, key, 5),
            vj.model.sample(config, lane, key, 5),
            rtol=1e-3,
            atol=1e-5,
        )


def test_of_the_lab_it_imports_nothing_but_the_data() -> None:
    lines = [line for line in FILE.read_text().splitlines() if "vaejax" in line]
    imports = [line for line in lines if line.startswith(("import", "from"))]
    assert imports == ["from vaejax.data import load"]


def test_it_draws_samples(one_file, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    one_file.main(epochs=1)
    assert capsys.readouterr().out.startswith("epoch 1: negative ELBO")
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules
