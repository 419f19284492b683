"""Compare: source, target, synthesis and difference of one case, side by side."""

from ui.empty import empty_state
from ui.errors import guard
from ui.frame import page_header
from ui.pickers import run_picker

page_header("Compare", "Look at what a model made, beside what was really there.")
with guard():
    if run_picker() is None:
        empty_state("No trained run yet", "Train a model on the Train page, or open the demo on Home.")
