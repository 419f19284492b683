"""Latent: look at the shared representation."""

from ui.empty import empty_state
from ui.frame import page_header

page_header("Latent", "Look at the shared representation.")
empty_state("This page is not built yet", "The same is there on the command line: `python -m core --help`.")
