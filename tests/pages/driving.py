"""What every page test does: open a page, read its words, find a button, take its pictures' addresses."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def open_page(path: str, **link: str) -> AppTest:
    """The page after its first run, opened with these query parameters."""
    page = AppTest.from_file(path, default_timeout=30)
    for name, value in link.items():
        page.query_params[name] = value
    return page.run()


def words(page: AppTest) -> str:
    """All that the page says in text."""
    elements = [*page.markdown, *page.caption, *page.info, *page.warning, *page.error, *page.text]
    return " ".join(str(element.value) for element in elements)


def button(page: AppTest, label: str):
    """The first button of that label."""
    return next(button for button in page.button if button.label == label)


def urls(page: AppTest) -> list[str]:
    """Where the page's pictures lie."""
    return [image.proto.imgs[0].url for image in page.get("image")]
