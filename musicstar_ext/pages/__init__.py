"""Pages that open in any browser, also from disk: a folder's template, style and scripts in one HTML file.

What all pages share stands here: colours for light and dark (`base.css`), and how a script makes an element
(`element.js`). A template holds `[[name]]` where something is filled in; `[[style]]` and `[[script]]` are the folder's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any


def assemble(package: str, scripts: Sequence[str], **fill: str) -> str:
    """The page in the folder `page` of a package.

    Args:
        scripts: its scripts; they become one, in this order, so what stands above is known below.
        fill: {name: text} for the template; texts of users have to be escaped.
    """
    parts, shared = resources.files(package) / "page", resources.files(__package__)
    style = [shared / "base.css", parts / "page.css"]
    script = [shared / "element.js", *(parts / name for name in scripts)]
    for name, files in (("style", style), ("script", script)):
        fill[name] = "\n".join(file.read_text(encoding="utf-8") for file in files)
    page, *rest = (parts / "page.html").read_text(encoding="utf-8").split("[[")
    for piece in rest:
        name, following = piece.split("]]", 1)
        page += fill[name] + following
    return page


def script_json(data: Any, **options: Any) -> str:
    """Data as JSON for a script element, which a "<" would end, or open a comment in; `options` are `json.dumps`'s."""
    return json.dumps(data, ensure_ascii=False, **options).replace("<", "\\u003c")
