"""Home: what this is, one picture, three steps, the way into the demo."""

import streamlit as st

from core.showcase import N_CASES, RUN_ID, is_ready
from ui.archive_view import archive_panel
from ui.demo import open_demo
from ui.errors import guard
from ui.frame import page_header
from ui.jobs_banner import active_jobs
from ui.outcome import failure_notice
from ui.state import State, workspace
from ui.style import ASSETS
from ui.workspace_view import workspace_notice

PICTURE = ASSETS / "home.jpg"
CAPTION = (
    "From left to right: the T1 that is given, the T2 that was really there, the T2 that the model made, "
    "and their signed difference. Simulated patient, not used in training."
)
STEPS = (
    ("Bring images", "NIfTI, DICOM, NumPy or PNG. They become cases whose modalities lie on one grid."),
    ("Train", "Choose a model in a form. Watch it learn, close the tab, come back."),
    ("Look and judge", "Any modality from any others, beside the truth, with errors against honest baselines."),
)


def demo_button(has_demo: bool) -> None:
    """Opens the demo: makes it on the first time, goes to it afterwards."""
    if has_demo:
        if st.button("Look at the demo", type="primary", icon=":material/compare:"):
            st.session_state[State.RUN] = RUN_ID
            st.switch_page("pages/compare.py")
        return
    is_being_made = any(job.kind == "demo" for job in active_jobs(workspace()))
    words = "The demo is being made" if is_being_made else "Open the demo"
    if st.button(words, type="primary", icon=":material/play_arrow:", disabled=is_being_made):
        open_demo()
        st.rerun()


page_header("Crossmodal Studio")
st.markdown(
    "Learn what CT, MRI, PET and ultrasound of one patient have in common, make one from another, "
    "and see how far to trust it."
)
if PICTURE.exists():
    st.image(str(PICTURE), width="stretch", caption=CAPTION)
failure_notice("demo", "Making the demo")
for number, (cell, (title, words)) in enumerate(zip(st.columns(3, gap="medium"), STEPS, strict=True), 1):
    with cell.container(border=True, height="stretch"):
        st.markdown(f"**{number}. {title}**  \n{words}")
is_made = is_ready(workspace())
wait = "" if is_made else "; ready in about a minute"
with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
    with st.container(width="content"), guard():
        demo_button(is_made)
    st.caption(
        f"{N_CASES} simulated patients in six modalities, with a trained model{wait}.  \n"
        "Your own images: open Data. They stay on this machine, and names, dates and numbers that identify a patient "
        "are removed before anything is stored.",
        width="stretch",
    )
with guard():
    workspace_notice()
with guard():
    archive_panel()
