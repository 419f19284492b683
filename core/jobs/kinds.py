"""What a worker can do: one function per kind of job. Heavy imports wait until the kind is known."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from core.errors import NotFoundError
from core.jobs.contests import arena, audit, search
from core.jobs.cores import share_cores
from core.progress import Cancelled, Progress, part
from core.runs import EXPORT, Job, Run
from core.uploads import LABELS
from core.workspace import Workspace, drafted, write_json

PREPARING = 0.8  # of the time; the rest goes into the check


def ingest(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: upload (id of the staged files) or folder (name of a listed one), cohort, layout, corrections.

    corrections: key -> a `Choice` as JSON.
    """
    from core.ingest import ingest as run_ingest
    from core.readers.choice import Choice
    from core.uploads import discard, server_folder, staged

    params = job.params
    upload = params.get("upload", "")
    source = staged(workspace, upload) if upload else server_folder(params["folder"])
    corrections = {key: Choice.from_json(values) for key, values in params.get("corrections", {}).items()}
    try:
        report = run_ingest(workspace, [source], params["cohort"], params["layout"], corrections, progress)
    finally:
        job.forget("corrections", "folder")
        if upload:
            discard(workspace, upload)
    job.write_result(_without_labels(job, report))
    return report


def scan(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: look (id), upload or folder, layout. What was found waits beside the upload: labels can name patients."""
    from core.survey import save_proposals, survey
    from core.uploads import looks, server_folder, staged

    params = job.params
    upload = params.get("upload", "")
    source = staged(workspace, upload) if upload else server_folder(params["folder"])
    place = looks(workspace, params["look"])
    found = survey(workspace, [source], params["layout"], place, progress)
    save_proposals(found, place)
    job.forget("folder")
    return {"images": len(found)}


def _without_labels(job: Job, report: dict[str, Any]) -> dict[str, Any]:
    """The report that stays: files by number. Their labels can name a patient; they wait for the page, once."""
    write_json(job.folder / LABELS, [row["label"] for row in report["files"]])
    files = [{**row, "label": f"File {n}"} for n, row in enumerate(report["files"], 1)]
    return {**report, "files": files}


def prepare(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: cohort, dataset, recipe (all settings). The dataset is checked too; where that is stopped, it stays."""
    from core.cohort import Cohort
    from core.config import build
    from core.prepare import prepare as run_prepare
    from core.quality.check import check
    from core.recipes import PrepareConfig

    params = job.params
    cohort = Cohort.open(workspace, params["cohort"])
    config = build(PrepareConfig, params["recipe"])
    dataset = run_prepare(workspace, cohort, params["dataset"], config, part(progress, 0.0, PREPARING))
    with contextlib.suppress(Cancelled):
        check(dataset, cohort, part(progress, PREPARING, 1.0))
    result = {"dataset": dataset.name, "cases": len(dataset.case_ids), "left_out": dataset.index["recipe"]["left_out"]}
    job.write_result(result)
    return result


def quality(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: dataset. What was found lies with the dataset."""
    from core.dataset import Dataset
    from core.quality.check import check, cohort_of
    from core.quality.summary import summary

    dataset = Dataset.open(workspace, job.params["dataset"])
    return summary(dataset, check(dataset, cohort_of(workspace, dataset), progress))


def preview(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: cohort, case, modality, recipe. The images after each step lie in the job's folder."""
    from core.cohort import Cohort
    from core.config import build
    from core.prepare import preview as run_preview
    from core.recipes import PrepareConfig
    from core.stage_files import save_views, views_of

    params = job.params
    cohort = Cohort.open(workspace, params["cohort"])
    progress(0, 1, "Trying the recipe on one case")
    stages = run_preview(cohort, params["case"], params["modality"], build(PrepareConfig, params["recipe"]))
    save_views(views_of(stages, params["modality"]), job.folder)
    return {"steps": len(stages)}


def demo(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: cases, seed, level."""
    from core.showcase import LEVEL, N_CASES, SEED, make_showcase, open_showcase

    wanted = (job.params["cases"], job.params["seed"], job.params["level"])
    if workspace.owner and wanted == (N_CASES, SEED, LEVEL):
        result = open_showcase(workspace, progress)
    else:
        result = make_showcase(workspace, *wanted, progress)
    job.write_result(result)
    return result


def export(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """The whole workspace as one file in the job's folder."""
    from core.archive import pack_workspace

    path = job.folder / EXPORT
    with drafted(path) as stream:
        pack_workspace(workspace, stream, progress)
    return {"bytes": path.stat().st_size}


def generate(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: run, settings (of a GenerateConfig), device. The generated cohort is a file in the job's folder."""
    from core.cohort_plan import GenerateConfig
    from core.config import build
    from core.generate import generate as run_generate
    from core.synthesis import load_run

    share_cores()
    config = build(GenerateConfig, job.params["settings"])
    loaded = load_run(workspace, Run.open(workspace, job.params["run"]), job.params.get("device", "auto"))
    path = job.folder / EXPORT
    with drafted(path) as stream:
        found = run_generate(loaded, config, stream, progress)
    result = {**found, "bytes": path.stat().st_size}
    job.write_result(result)
    return result


def restore(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: upload (id of a staged export)."""
    from core.archive import take_in
    from core.errors import RefusedError
    from core.uploads import discard, staged

    upload = job.params["upload"]
    try:
        paths = [path for path in staged(workspace, upload).rglob("*") if path.is_file()]
        if len(paths) != 1:
            raise RefusedError("Choose one file: an export of a run or of a workspace.", "ARCHIVE-ONE")
        result = take_in(workspace, paths[0], progress)
    finally:
        discard(workspace, upload)
    job.write_result(result)
    return result


def train(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """The job's folder is the run; params: device. A visitor's run may get the result of an equal one."""
    from core.sharing import AHEAD, can_share, offer, take_over

    run = Run(job.folder)
    is_shared = can_share(run, workspace)
    if is_shared and take_over(run, workspace):
        progress(1, 1)
        return {"seconds": 0.0}
    if run.status.note == AHEAD:  # whoever was ahead has gone
        run.update(note="")
    seconds = _train_here(run, workspace, progress)
    if is_shared:
        offer(run, workspace)
    return {"seconds": seconds}


def _train_here(run: Run, workspace: Workspace, progress: Progress) -> float:
    from core.dataset import Dataset
    from core.synthesis import pick_device
    from core.train import train as run_train

    share_cores()
    device = pick_device(run.params.get("device", "auto"))
    run.update(device=str(device))
    began = time.monotonic()
    run_train(run, Dataset.open(workspace, run.config.dataset), device, progress)
    return round(time.monotonic() - began, 3)


def evaluate(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: run, device, checks (further ones to do besides). The result lies with the run: it is the run's."""
    from core.audit import audit as run_audit
    from core.evaluate import evaluate as run_evaluate
    from core.synthesis import load_run

    share_cores()
    run = Run.open(workspace, job.params["run"])
    loaded = load_run(workspace, run, job.params.get("device", "auto"))
    result = run_evaluate(loaded, progress=progress)
    run.write_result(result)
    if job.params.get("checks"):
        run_audit(loaded, job.params["checks"], progress)
    return result


def uncertainty(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: run, device, pairs ([given, target] each; without it the usual ones), settings. Lies with the run."""
    from core.config import build
    from core.measured_doubt import told
    from core.synthesis import load_run
    from core.uncertainty import UncertaintyConfig, measure

    share_cores()
    params = job.params
    loaded = load_run(workspace, Run.open(workspace, params["run"]), params.get("device", "auto"))
    pairs = [(tuple(given), target) for given, target in params["pairs"]] if params.get("pairs") else None
    return told(measure(loaded, build(UncertaintyConfig, params.get("settings", {})), pairs, progress))


def embed(job: Job, workspace: Workspace, progress: Progress) -> Any:
    """params: run, device, maps (projections to compute besides, so that no page ever waits for one)."""
    from core.embed import embed as run_embed
    from core.latent import cached_projection, load_embedding, save_embedding
    from core.synthesis import load_run

    share_cores()
    run = Run.open(workspace, job.params["run"])
    if not run.embedding_path.exists():
        loaded = load_run(workspace, run, job.params.get("device", "auto"))
        save_embedding(run_embed(loaded, progress=progress), run.embedding_path)
    embedding = load_embedding(run.embedding_path)
    for method, n_components, level in job.params.get("maps", []):
        progress(0, 1, f"Drawing the {method.upper()} map")
        cached_projection(run.folder, embedding, method, n_components=n_components, level=level)
    n, dim = embedding.z.shape
    space = _shared_space(workspace, run)
    return {"run": run.id, "file": run.embedding_path.name, "items": n, "latent_dim": dim, "shared_space": space}


def _shared_space(workspace: Workspace, run: Run) -> list[dict[str, Any]]:
    """How far the codes of held-out cases are shared; nothing where the dataset is gone."""
    from core.dataset import Dataset
    from core.latent import load_embedding
    from core.shared_space import measure_space

    config = run.config
    try:
        split = Dataset.open(workspace, config.dataset).split(config.seed, config.fold, config.n_folds)
    except NotFoundError:
        return []
    return [asdict(pair) for pair in measure_space(load_embedding(run.embedding_path), split.test)]


KINDS: dict[str, Callable[[Job, Workspace, Progress], Any]] = {
    "demo": demo,
    "scan": scan,
    "ingest": ingest,
    "prepare": prepare,
    "quality": quality,
    "export": export,
    "restore": restore,
    "generate": generate,
    "preview": preview,
    "train": train,
    "search": search,
    "arena": arena,
    "evaluate": evaluate,
    "uncertainty": uncertainty,
    "audit": audit,
    "embed": embed,
}
