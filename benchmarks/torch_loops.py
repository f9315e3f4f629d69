"""The same models in PyTorch: eager, compiled, many under vmap, and their evaluation.

Images are floats in one tensor on the device, and Adam is the fused one."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.func import (  # pyright: ignore[reportMissingImports]
    functional_call,
    grad_and_value,
    vmap,
)
from torch.nn.functional import (  # pyright: ignore[reportMissingImports]
    binary_cross_entropy_with_logits,
)

import vaejax as vj
from benchmarks.nets import RATE, Task

LAYERS = (0, 2)
"""Where the two linear layers stand in an `nn.Sequential`."""
ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU}


def device_of(platform: str) -> str:
    """The device of PyTorch beside JAX on a platform."""
    return "cuda" if platform == "gpu" and torch.cuda.is_available() else "cpu"


def about(device: str) -> dict[str, Any]:
    """What PyTorch runs on."""
    return {"torch_device": device, "torch_threads": torch.get_num_threads()}


class VAE(nn.Module):
    """A Bernoulli VAE with one hidden layer in the encoder and one in the decoder."""

    def __init__(self, config: vj.Config) -> None:
        super().__init__()
        width, latent, pixels = config.encoder_widths[0], config.latent_size, config.pixels
        act = ACTIVATIONS[config.encoder_activation]
        self.encoder = nn.Sequential(nn.Linear(pixels, width), act(), nn.Linear(width, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, width), act(), nn.Linear(width, pixels))

    def terms(self, x: Any, noise: Any = None) -> tuple[Any, Any]:
        """Cross entropy, summed over pixels, and KL, both averaged over a batch, in nats."""
        mean, logvar = self.encoder(x).chunk(2, dim=-1)
        noise = torch.randn_like(mean) if noise is None else noise
        logits = self.decoder(mean + torch.exp(logvar / 2) * noise)
        error = binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = (mean**2 + logvar.exp() - 1 - logvar).sum() / 2
        return error / len(x), kl / len(x)

    def forward(self, x: Any, scale: Any = 1.0, weight: Any = 1.0, noise: Any = None) -> Any:
        """The objective; `scale` and `weight` multiply its terms."""
        error, kl = self.terms(x, noise)
        return scale * error + weight * kl


def as_torch(weights: Any) -> dict[str, Any]:
    """Weights of the lab as those of `VAE`, by name; with lanes, if they have them."""
    return {
        f"{net}.{place}.{ours}": torch.from_numpy(
            np.ascontiguousarray(np.swapaxes(leaf, -1, -2) if ours == "weight" else leaf).copy()
        )
        for net in ("encoder", "decoder")
        for layer, place in enumerate(LAYERS)
        for ours, leaf in (
            ("weight", np.asarray(weights[net]["params"][f"Dense_{layer}"]["kernel"])),
            ("bias", np.asarray(weights[net]["params"][f"Dense_{layer}"]["bias"])),
        )
    }


def model_of(config: vj.Config, weights: Any, device: str) -> VAE:
    """A model with the weights of the lab's first lane."""
    model = VAE(config)
    model.load_state_dict({name: leaf[0] for name, leaf in as_torch(weights).items()})
    return model.to(device)


def floats(images: np.ndarray, device: str) -> Any:
    return torch.tensor(images, device=device).float() / 255


def compiled(model: Any) -> Any:
    """`torch.compile` for fixed shapes, without what it compiled for other models before."""
    torch._dynamo.reset()
    return torch.compile(model, dynamic=False)


def orders(models: int, count: int, device: str) -> Any:
    """An order [models, count] of the images for each model."""
    return torch.stack([torch.randperm(count, device=device) for _ in range(models)])


def one_model(task: Task, weights: Any, device: str, compile_it: bool = False) -> Iterator[float]:
    """One model, a turn of steps at a time; gives its mean loss."""
    torch.manual_seed(0)
    model = model_of(task.config, weights, device)
    objective = compiled(model) if compile_it else model
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    pixels = floats(task.images, device)
    while True:
        total = torch.zeros((), device=device)
        for _ in range(task.epochs):
            order = torch.randperm(len(pixels), device=device)
            for rows in order.split(task.config.batch_size):
                optimizer.zero_grad()
                loss = objective(pixels[rows])
                loss.backward()
                optimizer.step()
                total += loss.detach()
        yield total.item() / task.steps


def vmapped(task: Task, weights: Any, device: str) -> Iterator[float]:
    """All models of `weights` at once, each on its own order of the images."""
    torch.manual_seed(0)
    skeleton = VAE(task.config).to(device)
    params = {name: leaf.to(device) for name, leaf in as_torch(weights).items()}
    models = len(next(iter(params.values())))

    def objective(params: Any, x: Any) -> Any:
        return functional_call(skeleton, params, (x,))

    gradients = vmap(grad_and_value(objective), randomness="different")
    optimizer = torch.optim.Adam(params.values(), lr=RATE, fused=True)
    pixels = floats(task.images, device)
    while True:
        total = torch.zeros((), device=device)
        for _ in range(task.epochs):
            order = orders(models, len(pixels), device)
            for rows in order.split(task.config.batch_size, 1):
                grads, losses = gradients(params, pixels[rows])
                for name, param in params.items():
                    param.grad = grads[name]
                optimizer.step()
                total += losses.mean()
        yield total.item() / task.steps


@torch.no_grad()
def neg_elbo(model: VAE, pixels: Any) -> float:
    total = sum(float(sum(model.terms(x))) * len(x) for x in pixels.split(1000))
    return total / len(pixels)


@torch.no_grad()
def importance_nll(model: VAE, pixels: Any, samples: int, at_once: int = 100) -> float:
    """The mean of `-log 1/k sum_i p(x, z_i) / q(z_i | x)`; `at_once` images at a time."""
    total = 0.0
    for x in pixels.split(at_once):
        mean, logvar = model.encoder(x).chunk(2, dim=-1)
        noise = torch.randn(samples, *mean.shape, device=x.device)
        z = mean + torch.exp(logvar / 2) * noise
        logits = model.decoder(z)
        error = binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        log_weight = (noise**2 + logvar - z**2).sum(-1) / 2 - error.sum(-1)
        total += float((math.log(samples) - log_weight.logsumexp(0)).sum())
    return total / len(pixels)


def evaluation(
    config: vj.Config, weights: Any, images: np.ndarray, device: str, samples: int | None
) -> Iterator[float]:
    """The mean negative ELBO of images, or, with `samples`, their mean NLL."""
    torch.manual_seed(0)
    model, pixels = model_of(config, weights, device), floats(images, device)
    while True:
        if samples is None:
            yield neg_elbo(model, pixels)
        else:
            yield importance_nll(model, pixels, samples)
