"""Evaluate: compare trained runs on held-out cases."""

from ui.empty import empty_state
from ui.frame import page_header

page_header("Evaluate", "Compare trained runs on held-out cases.")
empty_state("This page is not built yet", "The same is there on the command line: `python -m core --help`.")
