"""The quality of a dataset on one page: who has what, how it was acquired, how bright it is, who looks like whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.dataset import Dataset
from core.quality.check import cohort_of
from core.quality.drift import group_effect
from core.quality.flags import BRIGHTNESS, MASK_SIZE, MISSING, Flag, count
from core.quality.geometry import acquired
from core.quality.measures import Measured
from core.quality.report import Report
from core.quality.summary import SITE_LABELS, group_labels, groups, medians
from ui.jobs_banner import start_job
from ui.labels_view import labels_button
from ui.quality_charts import Strips, matrix_chart, strips_chart
from ui.score_charts import CONFIG
from ui.state import workspace
from ui.twins_view import twins_view
from ui.words import ABSENT, NOTED, THERE, count_words, flag_words, size_words, spacing_words

MASK = "Mask (ml)"
NO_LABEL = "No division"
SCALES = {"prepared": "Prepared", "source": "As imported"}


def quality_view(dataset: Dataset, report: Report, flags: Mapping[str, Sequence[Flag]]) -> None:
    """All sections, one below the other."""
    cases = {case: report.cases[case] for case in dataset.case_ids}
    with st.container(horizontal=True, vertical_alignment="center"):
        flagged = [case for case in cases if count(flags[case])]
        said = f"{len(flagged)} of {count_words(len(cases), 'case')} should be looked at" if flagged else "No flag"
        st.markdown(f"**{said}**", width="content")
        check_button(dataset, "Check again")
    _who_has_what(dataset, flags)
    _how_acquired(dataset, cases)
    _how_bright(dataset, cases, flags)
    st.markdown(
        "### Cases that look alike",
        help="Two cases whose images have the same fine pattern: a copy, perhaps mirrored, shifted or saved anew. "
        "Leave one of them out, or a model is judged on what it has learnt from.",
    )
    twins_view(dataset, report)


def check_button(dataset: Dataset, label: str) -> None:
    """Starts the job that measures, draws and compares."""
    tip = "Measures every case, draws the small pictures and looks for cases that are too alike; about a second a case"
    if st.button(label, icon=":material/fact_check:", help=tip, key="check-quality"):
        start_job("quality", {"dataset": dataset.name})
        st.rerun()


def _who_has_what(dataset: Dataset, flags: Mapping[str, Sequence[Flag]]) -> None:
    st.markdown("### Who has what", help="A row a modality, a column a case. Open rings: there, with a flag.")
    noted = {
        (case, m) for case, some in flags.items() for flag in some if flag.counts and flag.code != MISSING
        for m in flag.modalities
    }  # fmt: skip
    ink = "#E8EAF0" if st.context.theme.type == "dark" else "#1B1D26"
    st.plotly_chart(matrix_chart(dataset, noted, ink), width="stretch", config=CONFIG, key="quality-matrix")
    with st.expander("As a table", icon=":material/table:"):
        rows = [_table_row(dataset, case, flags[case], noted) for case in dataset.case_ids]
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", alt="Which case has which modality")
        st.caption(f"{THERE} there · {NOTED} there, with a flag · blank: not acquired")


def _table_row(dataset: Dataset, case: str, flags: Sequence[Flag], noted: set[tuple[str, str]]) -> dict[str, str]:
    present = dataset.record(case)["modalities"]
    marks = {m: ABSENT if m not in present else NOTED if (case, m) in noted else THERE for m in dataset.modalities}
    return {"Case": case, **marks, "Flags and notes": " ".join(flag_words(flag) for flag in flags)}


def _how_acquired(dataset: Dataset, cases: Mapping[str, Measured]) -> None:
    st.markdown(
        "### How the images were acquired",
        help="As they were imported, before they came onto one grid. A voxel or a field of view half as large again as "
        "usual, another plane or another tilt is named.",
    )
    known = {m: found for m in dataset.modalities if (found := acquired(cases, m))}
    if not known:
        st.caption("The cohort is no longer there, so this is not known.")
        return
    rows = []
    for modality, found in known.items():
        low, high = found.spacings_mm
        spread = "" if low == high else f"{spacing_words(low)} to {spacing_words(high)}"
        rows.append(
            {
                "Modality": modality,
                "Cases": found.n,
                "Usual voxel": spacing_words(found.spacing_mm),
                "Smallest to largest": spread or "all alike",
                "Usual field": f"{size_words([round(v) for v in found.field_mm])} mm",
                "Slices": ", ".join(f"{plane}: {n}" for plane, n in found.planes.items()),
                "Unusual": ", ".join(found.odd) or "none",
            }
        )
    st.dataframe(rows, hide_index=True, width="stretch", alt="Voxel size, field of view and plane by modality")


def _how_bright(dataset: Dataset, cases: Mapping[str, Measured], flags: Mapping[str, Sequence[Flag]]) -> None:
    st.markdown(
        "### Brightness and size",
        help="A dot a case: the volume of the mask, and the median brightness inside it. Rings are far from all others "
        "(over 3.5 robust standard deviations) by an amount that matters.",
    )
    label, scale = _divided_by(dataset)
    member = groups(dataset, label) if label else {}
    columns = {MASK: {case: measured.mask_ml for case, measured in cases.items()}}
    odd = {(MASK, case) for case in cases if any(flag.code == MASK_SIZE for flag in flags[case])}
    for modality in dataset.modalities:
        title = _title(dataset, modality, scale)
        columns[title] = {
            case: _on(dataset, case, modality, value, scale) for case, value in medians(cases, modality).items()
        }
        alike = Flag(BRIGHTNESS, (modality,))
        odd |= {(title, c) for c in columns[title] if any(_same_kind(flag, alike) for flag in flags[c])}
    strips = Strips(columns, member, frozenset(odd))
    st.plotly_chart(strips_chart(strips), width="stretch", config=CONFIG, key=f"quality-strips-{label}-{scale}")
    if label:
        _effects({name: values for name, values in columns.items() if name != MASK}, member, label)


def _same_kind(flag: Flag, other: Flag) -> bool:
    return (flag.code, flag.modalities) == (other.code, other.modalities)


def _divided_by(dataset: Dataset) -> tuple[str, str]:
    """The label by which the dots are divided ("" for none), and the scale."""
    offered = group_labels(dataset)
    has_site = any(name in SITE_LABELS for name in offered)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Divide by", [*offered, ""] if has_site else ["", *offered], key=f"quality-label-{dataset.name}", width=220,
            format_func=lambda name: name.replace("_", " ").capitalize() or NO_LABEL,
            help="A label with a few values, such as site: then what it explains of the brightness is told",
        )  # fmt: skip
        scale = st.segmented_control(
            "Scale", list(SCALES), default="prepared", required=True, key="quality-scale",
            format_func=SCALES.__getitem__, help="Prepared: what a model sees. As imported: in the images' own unit.",
        )  # fmt: skip
        cohort = cohort_of(workspace(), dataset)
        if cohort is not None:
            labels_button(cohort, "quality-labels")
    if not has_site:
        st.caption(
            ":material/info: No case has a site or a scanner, so drift between sites cannot be told from differences "
            "between people. Give labels to see it."
        )
    return str(chosen or ""), str(scale or "prepared")


def _title(dataset: Dataset, modality: str, scale: str) -> str:
    unit = dataset.unit(modality)
    return f"{modality} ({unit})" if scale == "source" else modality


def _on(dataset: Dataset, case: str, modality: str, value: float, scale: str) -> float:
    """A value of the prepared scale on the chosen one."""
    factor, offset = dataset.record(case)["scales"][modality]
    return float(value * factor + offset) if scale == "source" else value


def _effects(columns: Mapping[str, Mapping[str, float]], member: Mapping[str, str], label: str) -> None:
    """What the label explains of each modality's brightness."""
    rows: list[dict[str, Any]] = []
    for name, values in columns.items():
        effect = group_effect(values, member)
        if effect is None:
            continue
        shift = effect.largest
        interval = "" if shift.low is None else f"{shift.low:+.2g} to {shift.high:+.2g}"
        rows.append(
            {
                "Modality": name,
                f"Explained by {label.replace('_', ' ')}": f"{effect.eta_squared:.0%}",
                "By chance": f"{effect.by_chance:.0%}",
                "Farthest from the others": f"{shift.group}: {shift.by:+.2g}",
                "95 % interval": interval or "too few cases",
            }
        )
    if rows:
        st.dataframe(rows, hide_index=True, width="stretch", alt=f"What {label} explains of the brightness")
        st.caption(
            "Explained: the share of the differences between cases that lies between the groups (eta squared); beside "
            "it, what groups of these sizes would explain if they meant nothing."
        )
