"""The picture on Home, assets/home.jpg: a held-out case of the demo run, T1 -> T2. Needs a workspace with the demo.

python -m scripts.make_home_picture [RUN] [GIVEN] [TARGET]
"""

import io
import sys

import numpy as np
from PIL import Image

from core import render
from core.compare import compare_case
from core.render import Look, Window
from core.runs import Run
from core.showcase import RUN_ID
from core.synthesis import load_run
from core.workspace import Workspace, atomic_write
from ui.comparison import panes_of
from ui.slice_view import field_of_view
from ui.style import ASSETS

HEIGHT_PX = 620
GAP_PX = 10
WIDTH_PX = 1460  # what Streamlit sends as it is; it would make anything wider anew for each visitor


def main(run_id: str = RUN_ID, given: str = "T1", target: str = "T2") -> None:
    """Draw the four panes side by side through the middle of the head, a little above its centre."""
    place = Workspace.default()
    loaded = load_run(place, Run.open(place, run_id))
    case_id = loaded.split.test[0]
    result = compare_case(loaded, case_id, [given], target)
    panes = panes_of(result, loaded.dataset, case_id, target)
    field = field_of_view(panes, loaded.dataset.affine(case_id))
    box = tuple(slice(first, last) for first, last in field)
    index = round(0.52 * (field[2][1] - field[2][0]))
    pictures = []
    for pane in panes:
        window = Window(-100, 500) if pane.unit == "HU" and not pane.minus else pane.window
        look = Look(window=window, colours=pane.colours, height_px=HEIGHT_PX)
        hidden = (0 if pane.minus else window.low) if pane.is_masked else pane.data
        data = np.where(result.mask, pane.data, hidden)
        pictures += [render.draw_slice(data[box], loaded.dataset.spacing_mm, index, look)]
        pictures += [np.zeros((HEIGHT_PX, GAP_PX, 3), np.uint8)]
    whole = Image.fromarray(np.concatenate(pictures[:-1], axis=1))
    whole = whole.resize((WIDTH_PX, round(whole.height * WIDTH_PX / whole.width)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=95, subsampling=0, optimize=True)
    atomic_write(ASSETS / "home.jpg", stream.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
