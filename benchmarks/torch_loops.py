"""The same models in PyTorch: eager, compiled, many under vmap, and their evaluation.

Images are floats in one tensor on the device, and Adam is the fused one."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import func, nn  # pyright: ignore[reportMissingImports]

import vaejax as vj
from benchmarks.nets import Task

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
        error = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = (mean**2 + logvar.exp() - 1 - logvar).sum() / 2
        return error / len(x), kl / len(x)

    def forward(self, x: Any, scale: Any, weight: Any, noise: Any = None) -> Any:
        """The objective; `scale` and `weight` multiply its terms."""
        error, kl = self.terms(x, noise)
        return scale * error + weight * kl


def weights_of(params: Any, lanes: Any) -> dict[str, Any]:
    """Weights of the lab as those of `VAE`, by name: of one lane, or of a slice of them."""
    return {
        f"{net}.{place}.{ours}": torch.from_numpy(
            np.ascontiguousarray(np.swapaxes(leaf, -1, -2) if ours == "weight" else leaf)
        )
        for net in ("encoder", "decoder")
        for layer, place in enumerate(LAYERS)
        for ours, theirs in (("weight", "kernel"), ("bias", "bias"))
        for leaf in [np.array(params[net]["params"][f"Dense_{layer}"][theirs][lanes])]
    }


def model_of(config: vj.Config, params: Any, device: str) -> VAE:
    """A model with the weights of the lab's first lane."""
    model = VAE(config)
    model.load_state_dict(weights_of(params, 0))
    return model.to(device)


def compiled(model: Any) -> Any:
    """`torch.compile` for fixed shapes, without what it compiled for other models before."""
    torch._dynamo.reset()
    return torch.compile(model, dynamic=False)


def floats(images: np.ndarray, device: str) -> Any:
    return torch.tensor(images, device=device).float() / 255


def turns(task: Task, device: str, params: Any, models: int, gradients: Any) -> Iterator[float]:
    """Train `task.epochs` epochs at a time; gives the mean loss of the last one.

    Args:
        params: the tensors that Adam changes.
        models: how many take each step together. Each has an order of the images of its own.
        gradients: `gradients(rows, weight)` leaves gradients in the tensors, and gives the mean
            loss, of the images [models, batch] and at this weight of the KL.
    """
    optimizer, step = torch.optim.Adam(params, lr=task.rate, fused=True), 0
    while True:
        rates, weights = zip(*map(task.at, range(step, step + task.steps)), strict=True)
        schedule = iter(zip(rates, torch.tensor(weights, device=device), strict=True))
        step, losses = step + task.steps, []
        for _ in range(task.epochs):
            losses = []
            orders = [torch.randperm(len(task.images), device=device) for _ in range(models)]
            for rows in torch.stack(orders).split(task.config.batch_size, 1):
                rate, weight = next(schedule)
                optimizer.param_groups[0]["lr"] = rate
                losses.append(gradients(rows, weight).detach())
                optimizer.step()
        yield torch.stack(losses).mean().item()


def alone(task: Task, model: VAE, objective: Any, pixels: Any, lane: int) -> Iterator[float]:
    """One model, at the scale of a lane; `objective` is it, or it compiled."""
    scale = torch.tensor(task.scales[lane], device=pixels.device)

    def gradients(rows: Any, weight: Any) -> Any:
        model.zero_grad()
        loss = objective(pixels[rows[0]], scale, weight)
        loss.backward()
        return loss

    return turns(task, str(pixels.device), model.parameters(), 1, gradients)


def one_model(task: Task, params: Any, device: str, compile_it: bool = False) -> Iterator[float]:
    """The first model of a task, a turn at a time."""
    torch.manual_seed(0)
    model = model_of(task.config, params, device)
    objective = compiled(model) if compile_it else model
    return alone(task, model, objective, floats(task.images, device), 0)


def one_by_one(
    task: Task, params: Any, device: str, shares: int, compile_it: bool = False
) -> Iterator[float]:
    """The models of a task one after another: a turn trains an equal share of them, each from the
    first step to the last. Gives the mean objective in the last epoch of all models so far."""
    torch.manual_seed(0)
    pixels, ends = floats(task.images, device), []
    model = model_of(task.config, params, device)
    objective = compiled(model) if compile_it else model
    for share in np.array_split(np.arange(len(task.scales)), shares):
        for lane in share:
            model.load_state_dict(weights_of(params, lane))  # what is compiled stays
            trained = alone(task, model, objective, pixels, lane)
            ends.append(list(islice(trained, task.decay // task.steps))[-1])
        yield float(np.mean(ends))


def vmapped(task: Task, params: Any, device: str) -> Iterator[float]:
    """All models of a task at once."""
    torch.manual_seed(0)
    skeleton, pixels = VAE(task.config).to(device), floats(task.images, device)
    lanes = weights_of(params, slice(len(task.scales)))
    tensors = {name: leaf.to(device) for name, leaf in lanes.items()}
    scales = torch.tensor(task.scales, device=device)

    def objective(tensors: Any, x: Any, scale: Any, weight: Any) -> Any:
        return func.functional_call(skeleton, tensors, (x, scale, weight))

    of_models = func.vmap(func.grad_and_value(objective), (0, 0, 0, None), randomness="different")

    def gradients(rows: Any, weight: Any) -> Any:
        grads, losses = of_models(tensors, pixels[rows], scales, weight)
        for name, leaf in tensors.items():
            leaf.grad = grads[name]
        return losses.mean()

    return turns(task, device, tensors.values(), len(scales), gradients)


def importance_nll(model: VAE, x: Any, samples: int) -> Any:
    """`-log 1/k sum_i p(x, z_i) / q(z_i | x)`, averaged over a batch."""
    mean, logvar = model.encoder(x).chunk(2, dim=-1)
    noise = torch.randn(samples, *mean.shape, device=x.device)
    z = mean + torch.exp(logvar / 2) * noise
    logits = model.decoder(z)
    error = nn.functional.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    )
    log_weight = (noise**2 + logvar - z**2).sum(-1) / 2 - error.sum(-1)
    return (math.log(samples) - log_weight.logsumexp(0)).mean()


def evaluation(
    config: vj.Config, params: Any, images: np.ndarray, device: str, samples: int | None
) -> Iterator[float]:
    """The mean negative ELBO of images, or, with `samples`, their mean NLL."""
    torch.manual_seed(0)
    model, pixels = model_of(config, params, device), floats(images, device)
    while True:
        total = 0.0
        with torch.no_grad():
            for x in pixels.split(100 if samples else 1000):
                found = importance_nll(model, x, samples) if samples else sum(model.terms(x))
                total += float(found) * len(x)
        yield total / len(pixels)
