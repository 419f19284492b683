"""What pages share: session keys, look, forms, pickers, empty states, the slice viewer. Imports streamlit and core."""
