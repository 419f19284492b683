"""Prepare: bring a cohort onto one grid and one scale."""

from ui.empty import empty_state
from ui.frame import page_header

page_header("Prepare", "Bring a cohort onto one grid and one scale.")
empty_state("This page is not built yet", "The same is there on the command line: `python -m core --help`.")
