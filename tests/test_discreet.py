"""What a log says of a fault: where in our code it was, and nothing of what the error quotes."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from core.discreet import DiscreetFormatter, masked, told

PERSON = "".join(["DOE", "_", "JANE"])  # not as one word in a line of code, which a traceback shows


def test_what_an_error_quotes_is_masked():
    said = masked("[Errno 5] Input/output error: '/work/uploads/upload-1/DOE JANE/T1.nii', born 19610203")
    assert "DOE" not in said and "19610203" not in said and "upload" not in said
    assert masked("could not convert string to float: 'DOE^JANE'").startswith("could not convert string to float:")
    assert "DOE" not in masked("no such file C:\\scans\\DOE\\T1.nii")


def test_the_traceback_keeps_our_lines_and_the_whole_chain():
    try:
        try:
            {}[PERSON]
        except KeyError as error:
            raise ValueError(f"header of /home/{PERSON}/T1.nii is odd") from error
    except ValueError as error:
        text = told(error)
    assert PERSON not in text
    assert text.index("KeyError") < text.index("which led to") < text.index("ValueError")
    assert "test_discreet.py" in text


def test_a_log_written_with_it_does_not_quote(tmp_path: Path):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(DiscreetFormatter("%(message)s"))
    logger = logging.getLogger("discreet-test")
    logger.addHandler(handler)
    missing = tmp_path / PERSON / "T1.nii"
    try:
        missing.read_bytes()
    except OSError:
        logger.exception("The job failed")
    logger.removeHandler(handler)
    assert "FileNotFoundError" in stream.getvalue() and PERSON not in stream.getvalue()


@pytest.mark.parametrize("text", ["", "plain words", "a number 42"])
def test_what_names_nobody_stays(text):
    assert masked(text) == text
