"""How tall tables are."""

from __future__ import annotations

import pytest

from ui.style import table_height


@pytest.mark.parametrize(("n", "height"), [(0, "content"), (1, "content"), (6, "content"), (7, 260), (500, 260)])
def test_a_table_is_as_tall_as_its_rows_until_it_scrolls(n, height):
    assert table_height(n, 260) == height  # a header of 38 pixels, rows of 35
