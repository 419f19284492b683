"""What does a code know? Each generated person's true factors, read by a straight line from codes of held-out cases.

Every model learns from half of a small cohort in T1, CT and PET at 4 mm (`FACTORS_CASES`, 120; `FACTORS_EPOCHS`, 4),
with its default settings but for the length and batches of 8 at least. A held-out case's code is the posterior's mean
given all three, averaged over thirds of the slices and, where it is a map, quarters of the image. A ridge regression is
fitted and judged in five folds over the held-out cases: R^2 of what it predicts for numbers (0: no better than the
mean), the area under the ROC curve for yes or no (0.5: chance). A lesion's place and contrast: of those who have one.

Shared factors should be read from the shared code. What one modality alone knows, and nuisance, should not, but from
the private code of that modality, where a model has one. `FACTORS_MODELS` names others; `--quick` is a small try.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import Figures, is_quick_try
from benchmarks.generated import generated_dataset
from core.batches import informative_rows, make_batch
from core.dataset import Dataset
from core.models import MODELS
from core.models.base import Batch
from core.models.private_vae import PrivateVAE
from core.runs import Run
from core.synthesis import BATCH_SIZE, LoadedRun, load_run, to_device
from core.train import make_config, train
from core.types import Array
from core.workspace import Workspace

MODALITIES = ("CT", "PET", "T1")
SPACING_MM = 4.0
NAMES = "pca,pls,cca,contrastive,ae,vae,mvae,mopoe,mvtcae,jmvae,mmvae,dmvae,mmvae_plus"
QUICK_NAMES = "pca,mvae,dmvae"
N_FOLDS = 5
N_SLABS, N_PARTS = 3, 2  # of the slices; of each axis of a map


@dataclass(frozen=True)
class Factor:
    """A recorded truth.

    Attributes:
        owner: the one modality that shows it; "" where all do.
        is_yes_no: whether it is there at all.
        only_ill: read from those with a lesion.
    """

    label: str
    owner: str = ""
    is_yes_no: bool = False
    only_ill: bool = False


FACTORS = {
    "ventricles": Factor("ventricle_volume_ml"),
    "atrophy": Factor("atrophy"),
    "brain": Factor("brain_volume_ml"),
    "lesion": Factor("lesion_present", is_yes_no=True),
    "lesion_volume": Factor("lesion_volume_ml"),
    "lesion_contrast": Factor("lesion_contrast", only_ill=True),
    "lesion_x": Factor("lesion_x_mm", only_ill=True),
    "lesion_y": Factor("lesion_y_mm", only_ill=True),
    "lesion_z": Factor("lesion_z_mm", only_ill=True),
    "calcification": Factor("private_ct_calcification_hu", "CT", is_yes_no=True),
    "pet_focus": Factor("private_pet_focus", "PET", is_yes_no=True),
    "bias_field": Factor("nuisance_bias_amplitude", "T1"),
    "mr_noise": Factor("nuisance_mr_noise", "T1"),
    "mr_gain": Factor("nuisance_mr_gain", "T1"),  # taken out by preparing: nobody can read it
    "ct_noise": Factor("nuisance_ct_noise_hu", "CT"),
    "pet_counts": Factor("nuisance_pet_counts", "PET"),
}


def measure_factors() -> Figures:
    """MODEL.FACTOR from the shared code, MODEL.FACTOR.private from the owner's private code."""
    torch.set_num_threads(1)
    quick = is_quick_try()
    n_cases = int(os.environ.get("FACTORS_CASES", "16" if quick else "120"))
    names = os.environ.get("FACTORS_MODELS", QUICK_NAMES if quick else NAMES).split(",")
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace(Path(place))
        dataset = generated_dataset(workspace, "factors", n_cases, spacing_mm=SPACING_MM)
        for name in names:
            began = time.process_time()
            loaded = _trained(workspace, dataset, name, int(os.environ.get("FACTORS_EPOCHS", "1" if quick else "4")))
            figures |= {f"{name}.{key}": value for key, value in _readings(loaded) if value is not None}
            sys.stderr.write(f"{name}: {time.process_time() - began:.0f} s of CPU\n")
    return figures


def _trained(workspace: Workspace, dataset: Dataset, name: str, epochs: int) -> LoadedRun:
    kind = MODELS[name]
    settings: dict[str, Any] = {"modalities": MODALITIES}
    if not kind.is_fitted:
        settings |= {"epochs": epochs, "max_minutes": 600, "preview_every": 100_000}
        settings["batch_size"] = max(8, kind.train_defaults.get("batch_size", 0))
    run = Run.new(workspace, make_config(dataset, name, {}, settings, seed=0, fold=0, n_folds=2), "cpu")
    train(run, dataset, torch.device("cpu"))
    return load_run(workspace, run, "cpu")


def _readings(loaded: LoadedRun) -> Iterator[tuple[str, float | None]]:
    model = loaded.model
    codes = _case_codes(loaded, lambda batch: model.encode(batch.only(MODALITIES)).mean)
    for name, factor in FACTORS.items():
        yield name, _readable(loaded, codes, factor)
    if not isinstance(model, PrivateVAE):
        return
    for m in MODALITIES:
        own = _case_codes(loaded, lambda batch, m=m: model.embed_private(batch, m))  # type: ignore[misc]
        for name, factor in FACTORS.items():
            if factor.owner == m:
                yield f"{name}.private", _readable(loaded, own, factor)


@torch.inference_mode()
def _case_codes(loaded: LoadedRun, code_of: Callable[[Batch], Tensor]) -> Array:
    """(cases, numbers): of each held-out case."""
    found = []
    for case_id in loaded.split.test:
        rows = informative_rows(loaded.dataset, [case_id], loaded.model.shapes)
        starts = range(0, len(rows), BATCH_SIZE)
        batches = (make_batch(loaded.dataset, rows[n : n + BATCH_SIZE], loaded.model.shapes) for n in starts)
        slices = torch.cat([_in_parts(code_of(to_device(loaded, batch))) for batch in batches]).numpy()
        found.append(np.concatenate([slab.mean(0) for slab in np.array_split(slices, N_SLABS)]))
    return np.stack(found)


def _in_parts(z: Tensor) -> Tensor:
    """(B, numbers): means over the parts of a map; a vector as it is."""
    return F.interpolate(z, (N_PARTS,) * (z.ndim - 2), mode="area").flatten(1) if z.ndim > 2 else z


def _readable(loaded: LoadedRun, codes: Array, factor: Factor) -> float | None:
    labels = [loaded.dataset.record(case_id)["labels"] for case_id in loaded.split.test]
    kept = [n for n, label in enumerate(labels) if label["lesion_present"] or not factor.only_ill]
    truth = np.array([float(labels[n][factor.label]) for n in kept])
    return read(codes[kept], truth > 0 if factor.is_yes_no else truth)


def read(codes: Array, truth: Array) -> float | None:
    """How well a straight line reads the truth from the codes of cases that it was not fitted to; see above.

    None where there are too few cases: under four, or under two of one kind.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score, roc_auc_score
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    is_yes_no = truth.dtype == bool
    n_folds = min(N_FOLDS, *((truth.sum(), (~truth).sum()) if is_yes_no else (len(truth) // 2,)))
    if n_folds < 2:
        return None
    folds = (StratifiedKFold if is_yes_no else KFold)(int(n_folds), shuffle=True, random_state=0)
    line = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
    y = truth.astype(float)
    said = cross_val_predict(line, codes, y, cv=folds.split(codes, truth))
    return float(roc_auc_score(truth, said) if is_yes_no else r2_score(y, said))


def table(figures: Figures) -> str:
    """Factors down, models across; of two private codes the second line of a factor."""
    models = list(dict.fromkeys(key.split(".")[0] for key in figures))
    lines = [f"{'':<24}" + "".join(f"{name:>12}" for name in models)]
    for name, factor in FACTORS.items():
        kind = "AUROC" if factor.is_yes_no else "R2"
        for end, said in (("", kind), (".private", f"{kind}, private")):
            cells = [figures.get(f"{model}.{name}{end}") for model in models]
            if any(cell is not None for cell in cells):
                row = "".join(f"{'' if cell is None else f'{cell:.2f}':>12}" for cell in cells)
                lines.append(f"{f'{name} ({said})' if not end else f'  {said}':<24}" + row)
    return "\n".join(lines) + "\n"
