"""What stands beside the map: pictures of what is selected, true neighbours, torn pairs, the quality of the map."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from core.render import Look, Picture, Window, default_colours, draw_slice, window_presets
from ui.csv_table import csv_bytes
from ui.latent_points import TORN, Pairs, Points
from ui.space_view import space_view
from ui.state import State
from ui.style import table_height
from ui.switch import switch
from ui.words import count_words

if TYPE_CHECKING:
    from core.dataset import Dataset
    from core.latent import Key, Projection

VIEWS = {
    "selection": "Selection",
    "near": "Neighbours",
    "torn": "Torn pairs",
    "space": "Shared?",
    "quality": "Map quality",
}
MAX_PICTURES = 8
PICTURE_PX = 110
N_NEAR = 7
N_TABLE = 200


def beside_the_map(points: Points, drawn: Projection, pairs: Pairs) -> None:
    """One of VIEWS, chosen at the top."""
    view = switch("Beside the map", VIEWS, State.BESIDE, is_label_shown=False)
    if view == "near":
        show_neighbours(points)
    elif view == "torn":
        show_torn(points, pairs)
    elif view == "space":
        space_view(points)
    elif view == "quality":
        show_quality(drawn)
    else:
        show_selection(points)


def selected_keys() -> list[Key]:
    """What is selected, across maps, levels and colours."""
    return [(str(case), str(modality), int(k)) for case, modality, k in st.session_state.get(State.SELECTION, [])]


def clear_selection() -> None:
    st.session_state[State.SELECTION] = []


def show_selection(points: Points) -> None:
    """Pictures and a table of what the lasso caught; CSV; Clear."""
    keys = [key for key in selected_keys() if key in points.row_of]
    if not keys:
        st.caption("Draw around points on a 2-D map, or click one. Their slices appear here.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{count_words(len(keys), 'point')}** of {count_words(len({k[0] for k in keys}), 'case')}")
        st.download_button(
            "CSV",
            partial(selection_csv, points, keys),
            "selection.csv",
            "text/csv",
            icon=":material/download:",
            help="Case, modality, slice, split and every latent dimension of the selected points.",
        )
        st.button("Clear", icon=":material/close:", on_click=clear_selection, help="Select nothing", key="clear")
    show_pictures(points, spread(keys, MAX_PICTURES))
    if len(keys) > MAX_PICTURES:
        st.caption(f"{MAX_PICTURES} of {len(keys):,} are shown.")
    table = [
        {"case": k[0], "modality": k[1], "slice": _slice_words(k), "split": points.split_words.get(k[0], "")}
        for k in keys
    ]
    st.dataframe(pd.DataFrame(table[:N_TABLE]), hide_index=True, height=table_height(len(table), 220))


def spread(keys: Sequence[Key], n: int) -> list[Key]:
    """At most n of them, evenly over the order of cases, slices and modalities."""
    ordered = sorted(keys, key=lambda key: (key[0], key[2], key[1]))
    return [ordered[int(place)] for place in np.linspace(0, len(ordered) - 1, min(n, len(ordered)))]


def selection_csv(points: Points, keys: Sequence[Key]) -> bytes:
    """One line per selected point."""
    dims = [f"z{dim + 1}" for dim in range(points.codes.z.shape[1])]
    lines = []
    for key in keys:
        about = {
            "case": key[0],
            "modality": key[1],
            "slice": _slice_words(key),
            "split": points.split_words.get(key[0]),
        }
        lines.append(about | dict(zip(dims, points.codes.z[points.row_of[key]].tolist(), strict=True)))
    return csv_bytes(("case", "modality", "slice", "split", *dims), lines)


def _slice_words(key: Key) -> str:
    return str(key[2]) if key[2] >= 0 else "all"


def show_pictures(points: Points, keys: Sequence[Key], captions: Sequence[str] | None = None) -> None:
    """A picture per point, in rows."""
    if points.dataset is None:
        st.caption("The dataset is gone or was prepared anew, so there are no pictures to show.")
        return
    names = captions or [f"{key[0]} {key[1]}" + (f", {key[2]}" if key[2] >= 0 else "") for key in keys]
    with st.container(horizontal=True, gap="xsmall"):
        for key, name in zip(keys, names, strict=True):
            picture = thumbnail(points.dataset, key, points.slice_of(key))
            st.image(picture, caption=name, width=PICTURE_PX, alt=name)


def thumbnail(dataset: Dataset, key: Key, k: int) -> Picture:
    """The axial slice of a point, in radiological convention."""
    case, modality, _ = key
    look = Look(
        window=_window(dataset, case, modality),
        colours=default_colours(modality, dataset.unit(modality)),
        height_px=PICTURE_PX,
        scale_bar=False,
    )
    return draw_slice(dataset.volume(case, modality), dataset.spacing_mm, k, look)


def _window(dataset: Dataset, case: str, modality: str) -> Window:
    """The prepared 0-1 range; for CT soft tissue, on that scale."""
    presets = window_presets(dataset.unit(modality)) if dataset.unit(modality) == "HU" else {}
    if not presets:
        return Window(0.0, 1.0)
    scale, offset = dataset.record(case)["scales"][modality]
    window = presets["Soft tissue"]
    return Window((window.low - offset) / scale, (window.high - offset) / scale)


def show_neighbours(points: Points) -> None:
    """The nearest codes of one point, in the latent space and not on the map."""
    from core.latent import neighbours

    offered = _candidates(points)
    words = {n: f"{key[0]} {key[1]}" + (f", slice {key[2]}" if key[2] >= 0 else "") for n, key in enumerate(offered)}
    chosen = st.selectbox(
        "Neighbours of",
        list(words),
        format_func=words.__getitem__,
        key="near-item",
        help="One of the selected points, of the cases found, or the middle slice of any case.",
    )
    key = offered[chosen]
    rows, distances = neighbours(points.codes, points.row_of[key], N_NEAR)
    near = [points.keys[row] for row in rows]
    n_same = sum(other[1] == key[1] for other in near)
    n_case = sum(other[0] == key[0] for other in near)
    st.caption(
        f"Of the {len(near)} nearest, {n_same} are {key[1]} and {n_case} of the same case. Distances in latent units."
    )
    captions = [f"{other[0]} {other[1]}" + (f", {other[2]}" if other[2] >= 0 else "") for other in near]
    said = [f"{caption}: {distance:.3g}" for caption, distance in zip(captions, distances, strict=True)]
    show_pictures(points, [key, *near], ["chosen", *said])


def _candidates(points: Points) -> list[Key]:
    picked = [key for key in selected_keys() if key in points.row_of]
    if picked:
        return picked[:N_TABLE]
    found = st.session_state.get(State.FOUND_CASES, [])
    of_found = [key for key in points.keys if key[0] in found]
    if of_found or points.is_by_case:
        return of_found or points.keys
    places: dict[tuple[str, str], list[Key]] = {}
    for key in points.keys:
        places.setdefault(key[:2], []).append(key)
    return [keys[len(keys) // 2] for keys in places.values()]


def show_torn(points: Points, pairs: Pairs) -> None:
    """The pairs of modalities that lie far apart for this case, most torn first; a row selects its two points."""
    said = "pair lies" if pairs.n_torn == 1 else "pairs lie"
    st.caption(
        f"{pairs.n_torn:,} of {len(pairs.first):,} {said} at least {TORN:g} times as far apart as is usual for "
        "these two modalities. The model sees these images of one case as different."
    )
    shown = np.arange(min(max(pairs.n_torn, 10), N_TABLE, len(pairs.first)))
    ends = [(points.keys[pairs.first[n]], points.keys[pairs.second[n]]) for n in shown]
    lines = [
        {
            "case": a[0],
            "slice": _slice_words(a),
            "pair": f"{a[1]}, {b[1]}",
            "times": pairs.relative[n],
            "far": pairs.distance[n],
        }
        for n, (a, b) in zip(shown, ends, strict=True)
    ]
    number = st.column_config.NumberColumn
    event = st.dataframe(
        pd.DataFrame(lines),
        hide_index=True,
        height=300,
        key="torn-table",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "case": "Case",
            "slice": "Slice",
            "pair": "Modalities",
            "times": number("Times usual", format="%.1f", help="Distance over the median for these two modalities."),
            "far": number("Distance", format="%.3g", help="Euclidean, in the latent space."),
        },
    )
    picked = event["selection"]["rows"]
    if picked and picked[0] < len(ends):
        show_pictures(points, ends[picked[0]])


def show_quality(drawn: Projection) -> None:
    """How far the map can be trusted, in plain words."""
    trust, keep = drawn.quality["trustworthiness"], drawn.quality["continuity"]
    with st.container(horizontal=True):
        tip = "1: whoever lies close on the map is close in the latent space. Low: the map shows false neighbours."
        st.metric("Trustworthiness", f"{trust:.2f}", help=tip, border=True)
        tip = "1: whoever is close in the latent space lies close on the map. Low: the map tears neighbours apart."
        st.metric("Continuity", f"{keep:.2f}", help=tip, border=True)
    worst = min(trust, keep)
    said = "keeps nearly all" if worst >= 0.95 else "keeps most" if worst >= 0.85 else "loses many"
    st.markdown(
        f"This map **{said}** neighbourhoods. Sizes of clusters and gaps between them mean little, above all in UMAP: "
        "check what you see under Neighbours, where distances are true."
    )
