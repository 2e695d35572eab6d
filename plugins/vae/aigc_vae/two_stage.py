"""The second stage of Dai and Wipf 2019 (arXiv:1903.05789): a small VAE over the latents of the first, whose own latents
are closer to the standard normal, so that its prior makes latents which the first decoder knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH: Final = 256
BATCH: Final = 512
RATE: Final = 4e-3

Track = Callable[[Iterable[Any], int, str], Iterable[Any]]


class SecondStage(nn.Module):
    """Two hidden layers to a latent as large as that of the first stage, and two back; both are told the class, and both
    are added to what they are given. So it begins as the normal distribution with the latents' mean and covariance.
    """

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.size, self.classes = size, classes
        self.encoder = _layers(size + classes, 2 * size, torch.tensor([0.0, -3.0]).repeat_interleave(size))
        self.decoder = _layers(size + classes, size, torch.zeros(size))

    def forward(self, z: Tensor, labels: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened latents [N, D] through the second latent and back: [N, D], and the KL term in nats, 0-d."""
        mean, log_variance = self.encoder(told(z, labels, self.classes)).chunk(2, dim=1)
        mean, log_variance = z + mean, log_variance.clamp(-20, 10)
        u = mean + noise * (0.5 * log_variance).exp()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return u + self.decoder(told(u, labels, self.classes)), kl


def fit_second_stage(
    latents: Tensor, labels: Tensor | None, classes: int, steps: int, seed: int, track: Track
) -> dict[str, Tensor]:
    """What `draw_second_stage` takes. latents [N, D], labels [N] where there are classes; `steps` of Adam."""
    with torch.inference_mode(False), torch.enable_grad():
        z = latents.clone().float()
        told_labels = None if labels is None else labels.clone()
        shift, scale = z.mean(0), _factor(z)
        z = torch.linalg.solve_triangular(scale, (z - shift).T, upper=False).T.contiguous()
        stream = torch.Generator().manual_seed(seed % 2**63)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            model = SecondStage(z.shape[1], classes).to(z.device)
        optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
        spread = torch.ones_like(shift)
        for step in track(range(steps), steps, "second stage"):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - step / steps)
            row = torch.randint(len(z), (BATCH,), generator=stream).to(z.device)
            noise = torch.randn(BATCH, z.shape[1], generator=stream).to(z.device)
            label = None if told_labels is None else told_labels[row]
            made, kl = model(z[row], label, noise)
            # Of each number of the latent the variance that is best for the batch.
            variance = (made - z[row]).square().mean(0).clamp_min(1e-6)
            loss = 0.5 * variance.log().sum() + kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            spread.lerp_(variance.detach(), max(0.02, 1 / (step + 1)))
    found = {f"decoder.{name}": tensor.detach() for name, tensor in model.decoder.state_dict().items()}
    return {**found, "shift": shift, "scale": scale, "spread": spread.sqrt()}


def draw_second_stage(
    fitted: Mapping[str, Tensor], labels: Tensor | None, u: Tensor, noise: Tensor
) -> Tensor:
    """[N, D] latents of the first stage, of second latents and noise [N, D], both standard normal."""
    size = u.shape[1]
    layers = [fitted[f"decoder.{i}.{part}"].to(u.dtype) for i in (0, 2, 4) for part in ("weight", "bias")]
    h = told(u, labels, layers[0].shape[1] - size)
    h = F.silu(F.linear(h, layers[0], layers[1]))
    h = F.silu(F.linear(h, layers[2], layers[3]))
    z = u + F.linear(h, layers[4], layers[5]) + noise * fitted["spread"].to(u.dtype)
    return fitted["shift"].to(u.dtype) + F.linear(z, fitted["scale"].to(u.dtype))


def told(z: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """[N, D] with the class of each beside it, [N, D + classes]."""
    if labels is None or not classes:
        return z
    return torch.cat([z, F.one_hot(labels, classes).to(z.dtype)], dim=1)


def _factor(z: Tensor) -> Tensor:
    """[D, D] Cholesky's factor of the covariance of latents [N, D], a little of their variance added to each number's."""
    covariance = torch.cov(z.double().T, correction=0).view(z.shape[1], z.shape[1])
    ridge = max(1e-4 * float(covariance.diagonal().mean()), 1e-8)
    factor: Tensor = torch.linalg.cholesky(covariance + ridge * torch.eye(len(covariance), device=z.device))
    return factor.to(z.dtype)


def _layers(size: int, out: int, bias: Tensor) -> nn.Sequential:
    """Two hidden layers; bias [out] is that of the last one."""
    last = nn.Linear(WIDTH, out)
    last.bias.data.copy_(bias)
    return nn.Sequential(nn.Linear(size, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), last)
