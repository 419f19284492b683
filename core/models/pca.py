"""Probabilistic PCA of all modalities side by side (Tipping & Bishop 1999, doi:10.1111/1467-9868.00196)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.models.base import Batch, Shapes
from core.models.formulas import Gaussian
from core.models.linear_code import LinearCode, LinearSettings, Matrix, Sample

ROUNDS = 4  # of filling in what a training slice lacks, and looking again
NOISE_FLOOR = 1e-3  # of the mean variance of a pixel: with few slices nothing would be left over


class PCA(LinearCode):
    """x = mean + loading z + noise, z and noise normal: given any modalities, z is known by least squares."""

    title = "PCA (linear)"
    summary = (
        "The few directions in which all modalities vary together; fitted in seconds. Blurred, on shrunken images: "
        "it tells what a straight line can do."
    )

    class Config(LinearSettings):
        pass

    def __init__(self, config: PCA.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        self.noise: Tensor
        self.register_buffer("noise", torch.ones(()))

    def learn(self, sample: Sample) -> None:
        """What a slice lacks is its modality's mean at first, then what the model of the round before makes of it."""
        counts = sample.present.sum(1)[:, None]
        means = sample.x.sum(1, dtype=np.float64) / np.maximum(counts, 1)
        filled = np.where(sample.present[..., None], sample.x, means[:, None]).astype(np.float64)
        for _ in range(1 if sample.present.all() else ROUNDS):
            self._look(filled)
            filled = np.where(sample.present[..., None], sample.x, self._expected(filled, sample.present))

    def _look(self, filled: Matrix) -> None:
        """Mean, loading and noise of whole slices (M, n, P)."""
        from sklearn import decomposition

        n_sets, n, n_pixels = filled.shape
        side_by_side = filled.transpose(1, 0, 2).reshape(n, -1)
        k = min(self.config.components, n - 1, side_by_side.shape[1])
        found = decomposition.PCA(k, random_state=0).fit(side_by_side)
        total = float(side_by_side.var(0, ddof=1).sum())
        size = side_by_side.shape[1]
        left = (total - float(found.explained_variance_.sum())) / max(size - k, 1)
        noise = max(left, NOISE_FLOOR * total / size, 1e-12)
        lengths = np.sqrt(np.maximum(found.explained_variance_ - noise, 0))
        loading = (found.components_.T * lengths).reshape(n_sets, n_pixels, k)
        self.mean.copy_(torch.from_numpy(found.mean_.reshape(n_sets, n_pixels)))
        self.loading.zero_()
        self.loading[..., :k].copy_(torch.from_numpy(loading))
        self.noise.fill_(noise)

    def _expected(self, filled: Matrix, present: np.ndarray) -> Matrix:
        """(M, n, P): what the model makes of each slice, given what it has."""
        centred = torch.from_numpy(filled) - self.mean[:, None].cpu()
        z, _ = self._code(centred.to(self.mean.device), torch.from_numpy(present).to(self.mean.device))
        made = self.mean.double()[:, None] + torch.einsum("mpk,nk->mnp", self.loading.double(), z)
        return np.asarray(made.cpu().numpy())

    def _code(self, centred: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (n, K) of z given the present ones of (M, n, P): both in doubles, for the noise is small.

        z = (sum W'W + noise I)^-1 sum W'(x - mean), summed over the modalities that are present.
        """
        w, there = self.loading.double(), present.double()
        gram = torch.einsum("mpk,mpl->mkl", w, w)
        pull = torch.einsum("mnp,mpk,mn->nk", centred.double(), w, there)
        noise = self.noise.double()
        precision = torch.einsum("mkl,mn->nkl", gram, there) + noise * torch.eye(w.shape[2], device=w.device)
        covariance = noise * torch.linalg.inv(precision)
        return torch.linalg.solve(precision, pull), covariance.diagonal(dim1=1, dim2=2)

    def encode(self, batch: Batch) -> Gaussian:
        """The mean of z and the variance of each of its numbers; N(0, 1) for a row that has nothing."""
        blank = self.mean.new_zeros(batch.size, self.mean.shape[1])
        nowhere = torch.zeros_like(batch.position, dtype=torch.bool)
        order = self.shapes.modalities
        centred = torch.stack([self.centred(batch, m) if m in batch.x else blank for m in order])
        present = torch.stack([batch.present.get(m, nowhere) for m in order])
        mean, variance = self._code(centred, present)
        return Gaussian(mean.float(), variance.log().float())
