"""Home: what this is, one real picture, three steps, the way into the demo."""

import streamlit as st

from ui.frame import page_header

page_header("Crossmodal Studio", "Learn one representation of several kinds of medical image.")
st.markdown("Open the demo on the Data page to begin.")
