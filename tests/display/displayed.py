"""Reads what is displayed as a browser would, and as strictly as XML does."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree as ET

HOSTILE = '<script>alert("x")</script>\'&amp;]]>--%$'


class Page(HTMLParser):
    """The tags, attributes and words of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """All words, one after the other."""
        return " ".join(self.words)


def page(text: str) -> Page:
    """Parse HTML that must be well formed and must hold nothing that acts or hides."""
    ET.fromstring(f"<div>{text}</div>")  # noqa: S314 - our own text, made a moment ago
    found = Page(text)
    assert not {"script", "iframe", "img", "object", "style", "a"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    text.encode()  # no lone surrogates
    return found
