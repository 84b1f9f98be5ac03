"""What MkDocs needs to be told: pages and files that lie outside `docs/`, and the links to them.

In the repository a link leads from file to file, so that it works where the repository is read. On
the site a linked page is a page, and any other linked file is carried along as it is.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from elsewhere, notebooks, then every file that a page links to."""
    root = _root(config)
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.append(_notebook_page(notebook, config))
    for uri, path in config.extra["pages"].items():
        files.append(File.generated(config, uri, abs_src_path=str(root / path)))
    for page in files.documentation_pages():
        for target in _targets(page.content_string, page.src_uri, config):
            known = files.get_file_from_path(_uri(target, config)) is not None
            if not known and (root / target).is_file():
                place = str(root / target)
                files.append(File.generated(config, _uri(target, config), abs_src_path=place))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between files of the site."""
    here = page.file.src_uri

    def moved(link: re.Match[str]) -> str:
        target = _target(link[0], here, config)
        return posixpath.relpath(_uri(target, config), posixpath.dirname(here) or ".")

    return _LINK.sub(moved, markdown)


def _notebook_page(notebook: File, config: MkDocsConfig) -> File:
    """A notebook as it was committed, as a page; the metadata `alt` of a cell tells its picture."""
    parts = []
    for cell in json.loads(notebook.content_string)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            picture = output.get("data", {}).get("image/png")
            if picture is not None:
                # Decoded and coded anew, so that it is one line.
                data = base64.b64encode(base64.b64decode(picture)).decode()
                alt = cell["metadata"]["alt"]
                parts.append(f'<img alt="{alt}" src="data:image/png;base64,{data}">')
            else:
                parts.append("```text\n" + "".join(output["text"]) + "```")
    uri = notebook.src_uri.replace(".ipynb", ".md")
    return File.generated(config, uri, content="\n\n".join(parts))


def _targets(markdown: str, uri: str, config: MkDocsConfig) -> Iterator[str]:
    for link in _LINK.findall(markdown):
        yield _target(link, uri, config)


def _target(link: str, uri: str, config: MkDocsConfig) -> str:
    """The path in the repository of what the page of a URI links to."""
    source = config.extra["pages"].get(uri, f"docs/{uri}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _uri(path: str, config: MkDocsConfig) -> str:
    """Where a file of the repository lies on the site."""
    for uri, elsewhere in config.extra["pages"].items():
        if path == elsewhere:
            return str(uri)
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent
