"""One file that tells all of a judged run: dataset card, model card, results, conditions, versions, seeds. No script.

Everything is read from the run's folder and its dataset's index; nothing is computed anew, so a report repeats what the
Evaluate page shows. Pictures are inside, and nothing is fetched when it is opened.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from core.dataset import Dataset
from core.errors import NotFoundError
from core.metrics import METRICS, is_in_unit, metric_of, place_of
from core.protocol import fingerprint_of
from core.regions import region_words
from core.render import Look, Window, draw_slice, png
from core.report_checks import check_tables
from core.report_figures import strip
from core.runs import Run
from core.statistics import MIN_CASES, mean_interval
from core.synthrad import limits_words
from core.types import PHYSICAL_UNITS, PLACE
from core.versions import versions
from core.workspace import Workspace

Row = Mapping[str, Any]
Pair = tuple[tuple[str, ...], str]
SHOWN = ("mae", "psnr", "ssim", "ms_ssim")
PICTURE_PX = 150
MOST_PICTURES = 6
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem;color:#1b1d26;background:#fff}
h1{font-size:1.7rem}h2{margin-top:2.2rem;border-bottom:1px solid #8884}table{border-collapse:collapse;margin:.6rem 0}
td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #8883;vertical-align:top}td.n,th.n{text-align:right}
figure{display:inline-block;margin:.4rem .6rem .4rem 0}figcaption{font-size:.85rem;color:#666a78}
.note{color:#666a78}.warn{background:#fff3cd;color:#5c4400;padding:.5rem .8rem;border-radius:6px}
pre{background:#8881;padding:.7rem;overflow:auto;font-size:.85rem}
@media(prefers-color-scheme:dark){body{color:#e8eaf0;background:#14161c}.warn{background:#4a3b00;color:#ffe9a8}}
"""


def report_html(workspace: Workspace, run: Run) -> str:
    """The report of a judged run.

    Raises:
        NotFoundError: The run has not been judged yet.
    """
    result = run.result
    if not result or not result.get("rows"):
        raise NotFoundError("This run has not been judged yet. Evaluate it first.", "NOT-JUDGED")
    parts = [
        _head(run, result),
        _results(run, result),
        _per_region(run, result),
        _checks(run),
        _pictures(run),
        _dataset_card(workspace, run),
        _model_card(run, result),
        _conditions(result),
        _versions(run),
    ]
    title = escape(f"{run.config.model} on {run.config.dataset}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _head(run: Run, result: Mapping[str, Any]) -> str:
    protocol = result["protocol"]
    notes = ["Not for clinical use."]
    if protocol["simulated"]:
        notes.append("All images are simulated; no patient is shown.")
    if not protocol["held_out"]:
        notes.append("Some of these cases were seen in training, so these numbers flatter.")
    if not result.get("paired", True):
        notes.append("Learnt without pairs: the model never saw two modalities of one slice together.")
    cases = f"{len(protocol['cases'])} held-out cases, protocol <code>{fingerprint_of(protocol)}</code>"
    said = " ".join(map(escape, notes))
    return f"<h1>{escape(run.title)}</h1><p>{cases}</p><p class=warn>{said}</p>"


def _results(run: Run, result: Mapping[str, Any]) -> str:
    """A table of pairs, and dots per case for every pair from one modality."""
    groups = _by_pair(result["rows"])
    units = result["protocol"]["mae_units"]
    own = run.config.model
    lines = [
        [" + ".join(given), _made(given, target), *_cells(groups[given, target], own, units.get(target, ""))]
        for given, target in groups
        if own in groups[given, target]
    ]
    head = ["Given", "Made", *(METRICS[name].name for name in SHOWN), "MAE of the best baseline", "n"]
    figures = "".join(
        f"<figure>{strip(values, f'MAE ({units.get(target, chr(32))})')}"
        f"<figcaption>{escape(' + '.join(given))} → {escape(target)}</figcaption></figure>"
        for (given, target), by_model in groups.items()
        if len(given) == 1 and given != (target,) and (values := _errors(by_model))
    )
    few = len(result["protocol"]["cases"]) < MIN_CASES
    note = f"Under {MIN_CASES} cases there is no interval; every case is a dot." if few else "With 95 % BCa intervals."
    return f"<h2>Results</h2><p class=note>Means over cases, in the mask. {note}</p>{_table(head, lines)}{figures}"


def _made(given: tuple[str, ...], target: str) -> str:
    """Reconstruction is much easier than synthesis, and told apart."""
    return f"{target} (reconstruction)" if given == (target,) else target


def _by_pair(rows: Sequence[Row]) -> dict[Pair, dict[str, list[Row]]]:
    """Pair -> model -> its rows, single sources first."""
    found: dict[Pair, dict[str, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: (len(row["given"]), row["given"], row["target"])):
        found.setdefault((tuple(row["given"]), row["target"]), {}).setdefault(row["model"], []).append(row)
    return found


def _cells(by_model: Mapping[str, Sequence[Row]], own: str, unit: str) -> Iterator[str]:
    for name in SHOWN:
        yield _mean_words([row[name] for row in by_model[own] if row.get(name) is not None], name, unit)
    rivals = [float(np.mean([row["mae"] for row in rows])) for model, rows in by_model.items() if model != own]
    yield _number(min(rivals), "mae", unit) if rivals else ""
    yield str(len(by_model[own]))


def _mean_words(values: Sequence[float], score: str, unit: str) -> str:
    if not values:
        return ""
    found = mean_interval(values)
    said = _number(found.mean, score, unit)
    if found.low is None or found.high is None:
        return said
    return f"{said} ({_number(found.low, score, unit)} to {_number(found.high, score, unit)})"


def _number(value: float, score: str, unit: str) -> str:
    if is_in_unit(score):
        digits = {"HU": 1, "SUV": 2}.get(unit, 4)
        return f"{value:.{digits}f} {unit if unit in PHYSICAL_UNITS else ''}".rstrip()
    return f"{value:.1f} dB" if metric_of(score).unit == "dB" else f"{value:.3f}"


def _errors(by_model: Mapping[str, Sequence[Row]]) -> dict[str, list[float]]:
    return {model: [row["mae"] for row in rows if row["mae"] is not None] for model, rows in by_model.items()}


def _per_region(run: Run, result: Mapping[str, Any]) -> str:
    """Every region and protocol of every synthesis from one modality."""
    units = result["protocol"]["mae_units"]
    lines = []
    for (given, target), by_model in _by_pair(result["rows"]).items():
        rows = by_model.get(run.config.model, [])
        for place in sorted({place_of(name) for row in rows for name in row if PLACE in name}):
            if len(given) == 1 and given != (target,):
                scores = [f"{name}{PLACE}{place}" for name in SHOWN]
                told = ([row[s] for row in rows if row.get(s) is not None] for s in scores)
                cells = [_mean_words(v, s, units.get(target, "")) for v, s in zip(told, scores, strict=True)]
                lines.append([" + ".join(given), target, region_words(place), *cells])
    if not lines:
        return ""
    head = ["Given", "Made", "Where", *(METRICS[name].name for name in SHOWN)]
    note = limits_words(recipe=result["protocol"]["normaliser"])
    return f"<h2>By region and by SynthRAD's limits</h2><p class=note>{escape(note)}</p>{_table(head, lines)}"


def _checks(run: Run) -> str:
    """Further checks, as far as they were done."""
    parts = [
        f"<h3>{escape(title)}</h3><p class=note>{escape(note)}</p>{_table(head, lines) if lines else ''}"
        for title, note, head, lines in check_tables(run)
    ]
    return f"<h2>Further checks</h2>{''.join(parts)}" if parts else ""


def _pictures(run: Run) -> str:
    """The last sample of the training: what was given, made and there."""
    if not run.previews:
        return ""
    with np.load(run.previews[-1], allow_pickle=False) as arrays:
        images = {name: arrays[name].astype(np.float32) for name in arrays.files}
    made = [name for name in images if not name.startswith(("source__", "target__"))]
    chosen = [name for name in made if len(set(name.split("__"))) == 2][:MOST_PICTURES]
    rows = []
    for name in chosen:
        given, target = name.split("__")
        row = {f"{given}, given": f"source__{given}", f"{target}, made": name, f"{target}, real": f"target__{target}"}
        rows.append("".join(_picture(said, images[key]) for said, key in row.items() if key in images))
    note = "One slice of a case that is not held out, on the prepared scale."
    return f"<h2>Pictures</h2><p class=note>{note}</p>" + "<br>".join(rows) if rows else ""


def _picture(said: str, image: np.ndarray[Any, Any]) -> str:
    look = Look(window=Window(0.0, 1.0), height_px=PICTURE_PX, letters=False, scale_bar=False)
    data = base64.b64encode(png(draw_slice(image[:, :, None], (1.0, 1.0, 1.0), 0, look))).decode()
    words = escape(said)
    return f'<figure><img alt="{words}" src="data:image/png;base64,{data}"><figcaption>{words}</figcaption></figure>'


def _dataset_card(workspace: Workspace, run: Run) -> str:
    try:
        dataset = Dataset.open(workspace, run.config.dataset)
    except NotFoundError:
        return "<h2>Dataset</h2><p>The dataset is gone; its fingerprint stands under Conditions.</p>"
    split = dataset.split(run.config.seed, run.config.fold, run.config.n_folds)
    has = {m: sum(m in dataset.record(c)["modalities"] for c in dataset.case_ids) for m in dataset.modalities}
    parts = {"training": split.train, "watched": split.val, "held out": split.test}
    counts = ", ".join(f"{len(cases)} {said}" for said, cases in parts.items())
    spacing = " x ".join(f"{s:g}" for s in dataset.spacing_mm)
    facts = {
        "Name": dataset.name,
        "Origin": "generated" if dataset.is_simulated else "imported images, identity removed at import",
        "Cases": f"{len(dataset.case_ids)}: {counts}",
        "Images": ", ".join(f"{m} ({n}, {dataset.unit(m)})" for m, n in has.items()),
        "Grid": f"{' x '.join(map(str, dataset.shape))} voxels of {spacing} mm",
        "Left out": f"{len(dataset.excluded)} by hand",
        "Fingerprint": dataset.fingerprint,
    }
    return f"<h2>Dataset</h2>{_facts(facts)}"


def _model_card(run: Run, result: Mapping[str, Any]) -> str:
    from core.models import MODELS

    config, cost = run.config, result.get("cost", {})
    kind = MODELS.get(config.model)
    facts = {
        "Model": f"{config.model}: {kind.summary}" if kind else config.model,
        "Learnt from": "pairs" if result.get("paired", True) else "unpaired images",
        "Parameters": f"{cost.get('parameters', 0):,}",
        "Seconds a case": _known(cost.get("seconds_per_case"), "{:.2f}"),
        "Peak memory": _known(cost.get("peak_memory_mb"), "{:.0f} MB, of the evaluating process"),
        "Device": str(cost.get("device", "")),
    }
    meant = "To study synthesis and shared representations. It must not be used for diagnosis or treatment."
    settings = json.dumps(config.model_dump(exclude={"tasks"}), indent=1, default=str)
    return f"<h2>Model</h2><p>{meant}</p>{_facts(facts)}<pre>{escape(settings)}</pre>"


def _conditions(result: Mapping[str, Any]) -> str:
    protocol = result["protocol"]
    told = {name: value for name, value in protocol.items() if name not in ("normaliser", "fingerprint")}
    facts = {name.replace("_", " ").capitalize(): _plain(value) for name, value in told.items()}
    leaks = result.get("leaks", {}).get("checked", ())
    looked = "".join(f"<li>{escape(line)}</li>" for line in leaks) or "<li>Not looked for.</li>"
    recipe = escape(json.dumps(protocol["normaliser"], indent=1))
    return (
        f"<h2>Conditions</h2>{_facts({'Fingerprint': fingerprint_of(protocol), **facts})}"
        f"<p>Looked for leaks before judging:</p><ul>{looked}</ul><p>Preparation:</p><pre>{recipe}</pre>"
    )


def _versions(run: Run) -> str:
    facts = {"Seed": str(run.config.seed), **versions()}
    return f"<h2>Versions and seeds</h2><p class=note>Of the machine that wrote this report.</p>{_facts(facts)}"


def _known(value: float | None, words: str) -> str:
    return "not measured" if value is None else words.format(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _facts(facts: Mapping[str, str]) -> str:
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return f"<table>{lines}</table>"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    first = "".join(f"<th>{escape(name)}</th>" for name in head)
    rest = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><tr>{first}</tr>{rest}</table>"
