"""What a report holds, read as a browser would: its elements, and the data that its script draws from."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of those with an id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, str] = {}
        self.scripts: list[str] = []
        self._open = ""
        self.feed(html)
        self.data: dict[str, Any] = json.loads(self.text["data"])

    @classmethod
    def of(cls, run: Path) -> "Page":
        return cls((run / "report.html").read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open = dict(attrs).get("id") or ""
        if tag == "script" and "type" not in dict(attrs):
            self._open = f"script {len(self.scripts)}"
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.text[self._open] = self.text.get(self._open, "") + data
        if self._open.startswith("script "):
            self.scripts[-1] += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def hrefs(self) -> list[str]:
        """The links of the pictures, in their order, as the script makes them."""
        pictures = self.data["pictures"]
        return [
            pictures["folders"][folder][1] + pictures["hrefs"].get(str(place), quote(name, safe=""))
            for place, (folder, name) in enumerate(zip(pictures["folder"], pictures["name"], strict=True))
        ]

    @property
    def paths(self) -> list[bytes]:
        """The files of the pictures, in their order."""
        return [unquote_to_bytes(href.removeprefix("file://")) for href in self.hrefs]

    def words(self, column: str) -> list[str | None]:
        """What stands in a column of pictures: role, reason, rule or relation."""
        of = {"role": "roles", "reason": "reasons", "rule": "rules", "relation": "relations"}[column]
        known = list(self.data["words"][of])
        return [known[at] if at >= 0 else None for at in self.data["pictures"][column]]

    @property
    def thumbnails(self) -> list[str]:
        """The JPEG files of the pictures, in base64."""
        blocks = [text for id, text in sorted(self.text.items(), key=_number) if id.startswith("thumbs-")]
        return [head + rest for head, *others in (block.split(",") for block in blocks) for rest in others]


def _number(entry: tuple[str, str]) -> int:
    return int(re.sub(r"\D", "", entry[0]) or -1)


def assert_harmless(page: Page) -> None:
    """One script, which is the one that its policy names; nothing else runs, and nothing is loaded from elsewhere."""
    assert len(page.scripts) == 1
    assert "script-src 'sha256-" in next(v["content"] for _, v in page.elements if "http-equiv" in v)
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert not {"iframe", "object", "embed", "link", "base", "svg"} & {tag}
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert attributes.get("type", "text/plain") in ("text/plain", "application/json")
