"""Train: train a model on a dataset."""

from ui.empty import empty_state
from ui.frame import page_header

page_header("Train", "Train a model on a dataset.")
empty_state("This page is not built yet", "The same is there on the command line: `python -m core --help`.")
