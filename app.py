"""The app: its pages in the order of work, the look, the workspace. Start it with `make run`."""

import streamlit as st

from ui.frame import notice
from ui.jobs_banner import jobs_banner
from ui.sign_in import is_open
from ui.sign_in_view import door
from ui.state import restore_workspace
from ui.style import ASSETS, load_style

PAGES = [
    st.Page("pages/home.py", title="Home", icon=":material/home:", default=True),
    st.Page("pages/data.py", title="Data", icon=":material/folder_open:"),
    st.Page("pages/prepare.py", title="Prepare", icon=":material/tune:"),
    st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
    st.Page("pages/latent.py", title="Latent", icon=":material/scatter_plot:"),
    st.Page("pages/compare.py", title="Compare", icon=":material/compare:"),
    st.Page("pages/evaluate.py", title="Evaluate", icon=":material/analytics:"),
]

st.set_page_config(page_title="Crossmodal Studio", page_icon=str(ASSETS / "icon.svg"), layout="wide")
st.logo(str(ASSETS / "logo.svg"), size="medium")
load_style()
if not is_open():
    st.navigation(PAGES, position="hidden")
    notice()
    door()
    st.stop()
restore_workspace()
page = st.navigation(PAGES, position="top")
notice()
jobs_banner()
page.run()
