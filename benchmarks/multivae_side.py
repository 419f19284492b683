"""The library's side of the parity benchmark, run by the python of its own environment; see `multivae_env.run_there`.

Jobs come as JSON, arrays as NPZ beside it; answers go back the same way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from multivae.data.datasets import MultimodalBaseDataset
from multivae.models import (
    DMVAE,
    JMVAE,
    MMVAE,
    MVAE,
    MVTCAE,
    DMVAEConfig,
    JMVAEConfig,
    MMVAEConfig,
    MoPoE,
    MoPoEConfig,
    MVAEConfig,
    MVTCAEConfig,
)
from multivae.models.base import BaseDecoder, ModelOutput
from multivae.models.nn import BaseJointEncoder, BaseMultilatentEncoder
from multivae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from benchmarks.parity_networks import Design, Networks, gradients_of, make_networks, set_weights, weights_of

KINDS = {
    "mvae": (MVAE, MVAEConfig),
    "mmvae": (MMVAE, MMVAEConfig),
    "mopoe": (MoPoE, MoPoEConfig),
    "jmvae": (JMVAE, JMVAEConfig),
    "mvtcae": (MVTCAE, MVTCAEConfig),
    "dmvae": (DMVAE, DMVAEConfig),
}


class Encoder(BaseMultilatentEncoder):
    """The given network, and that of the private code where there is one, in the library's form."""

    def __init__(self, shared: nn.Module, latent: int, private: nn.Module | None = None, style: int = 0) -> None:
        super().__init__()
        self.shared, self.private = shared, private
        self.latent_dim, self.style_dim = latent, style

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_var = self.shared(x).chunk(2, 1)
        if self.private is None:
            return ModelOutput(embedding=mean, log_covariance=log_var)
        own_mean, own_log_var = self.private(x).chunk(2, 1)
        return ModelOutput(
            embedding=mean, log_covariance=log_var, style_embedding=own_mean, style_log_covariance=own_log_var
        )


class JointEncoder(BaseJointEncoder):
    """The given network on all modalities as planes."""

    def __init__(self, network: nn.Module, latent: int) -> None:
        super().__init__()
        self.network, self.latent_dim = network, latent

    def forward(self, x: dict[str, Tensor]) -> ModelOutput:
        mean, log_var = self.network(torch.cat(list(x.values()), 1)).chunk(2, 1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):
    """The given network in the library's form."""

    def __init__(self, network: nn.Module, latent: int) -> None:
        super().__init__()
        self.network, self.latent_dim = network, latent

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


def build(job: dict[str, Any]) -> tuple[Any, Networks]:
    """The library's model of a job around networks of the job's design."""
    design = Design(**{**job["design"], "modalities": tuple(job["design"]["modalities"])})
    networks = make_networks(design, 0)
    kind, config = KINDS[job["model"]]
    names = design.modalities
    encoders = {
        m: Encoder(networks[f"encoder.{m}"], design.latent, networks.get(f"private.{m}"), design.private) for m in names
    }
    decoders = {m: Decoder(networks[f"decoder.{m}"], design.latent + design.private) for m in names}
    settings = {
        "n_modalities": len(names),
        "latent_dim": design.latent,
        "decoders_dist": dict.fromkeys(names, job["likelihood"]),
        "decoder_dist_params": {m: {"scale": job["scale"]} for m in names},
        **job["theirs"],
    }
    if design.private:
        settings["modalities_specific_dim"] = dict.fromkeys(names, design.private)
    more = {"joint_encoder": JointEncoder(networks["joint"], design.latent)} if design.joint else {}
    return kind(config(**settings), encoders, decoders, **more), networks


def arrays_in(path: Path, prefix: str) -> dict[str, Any]:
    """The arrays of an NPZ whose names begin so, without that beginning."""
    with np.load(path, allow_pickle=False) as file:
        return {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}


def images_in(path: Path, prefix: str, modalities: Sequence[str]) -> MultimodalBaseDataset:
    """The images of an NPZ as the library takes them."""
    arrays = arrays_in(path, prefix)
    return MultimodalBaseDataset({m: torch.from_numpy(arrays[m]) for m in modalities})


def loss(job: dict[str, Any], folder: Path) -> list[float]:
    """The losses of some draws, in double precision; the first one's gradients go into a file."""
    model, networks = build(job)
    model.double().train()
    path = folder / f"{job['key']}.npz"
    set_weights(networks, arrays_in(path, "weights."))
    inputs = images_in(path, "images.", job["design"]["modalities"])
    torch.manual_seed(job["seed"])
    found = []
    for n in range(job["n_draws"]):
        total = model(inputs, **job["when"]).loss
        if n == 0:
            total.backward()
            np.savez(folder / f"{job['key']}.gradients.npz", **gradients_of(networks))
        found.append(float(total.detach()))
    return found


class GivenOrder(Sampler[int]):
    """One order of the rows for each epoch."""

    def __init__(self, orders: Sequence[Sequence[int]]) -> None:
        self.orders, self.epoch = orders, 0

    def __len__(self) -> int:
        return len(self.orders[0])

    def __iter__(self) -> Iterator[int]:
        order = self.orders[self.epoch % len(self.orders)]
        self.epoch += 1
        return iter(int(n) for n in order)


class OrderedTrainer(BaseTrainer):
    """The library's trainer; its loader takes rows in the given order and draws none of the model's random numbers."""

    orders: Sequence[Sequence[int]]

    def get_train_dataloader(self, train_dataset: MultimodalBaseDataset) -> DataLoader[Any]:
        self.sampler = GivenOrder(self.orders)
        batch_size = self.training_config.per_device_train_batch_size
        return DataLoader(train_dataset, batch_size, sampler=self.sampler, generator=torch.Generator())


def train(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train one model to its last epoch; weights, and every modality made from each other one, go into a file."""
    model, networks = build(job)
    set_weights(networks, arrays_in(folder / job["weights"], ""))
    names = job["design"]["modalities"]
    sets = {part: images_in(folder / "digits.npz", f"{part}.", names) for part in ("train", "test")}
    config = BaseTrainerConfig(
        output_dir=str(folder / "trainings"),
        per_device_train_batch_size=job["batch_size"],
        num_epochs=job["epochs"],
        learning_rate=job["lr"],
        seed=job["seed"],
        no_cuda=True,
    )
    trainer_kind = type("Trainer", (OrderedTrainer,), {"orders": arrays_in(folder / job["weights"], "orders")[""]})
    trainer = trainer_kind(model, sets["train"], training_config=config)
    trainer.sampler.epoch = 0  # the check before the training has looked at one batch
    trainer.train()
    made = {}
    with torch.no_grad():
        for given in names:
            images = trainer.model.predict(sets["test"], given, "all", return_mean=True)
            made |= {f"images.{given}__{target}": images[target].numpy() for target in names if target != given}
    weights = {f"weights.{name}": value for name, value in weights_of(networks).items()}
    np.savez(folder / f"{job['key']}.trained.npz", **made, **weights)
    return {}


TASKS = {"losses": loss, "trainings": train}


def main() -> None:
    torch.set_num_threads(1)
    task, folder = sys.argv[1], Path(sys.argv[2])
    jobs = json.loads((folder / "jobs.json").read_text())
    answers = {job["key"]: TASKS[task](job, folder) for job in jobs}
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
