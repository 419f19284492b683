"""Data: import images as cases of a cohort."""

from ui.empty import empty_state
from ui.frame import page_header

page_header("Data", "Import images as cases of a cohort.")
empty_state("This page is not built yet", "The same is there on the command line: `python -m core --help`.")
