"""Makes anew what the documentation shows of the program.

python docs/renew.py notebook                 # runs the notebook and keeps its outputs
python docs/renew.py screenshots easq_run     # of that run's report and of site/ (make docs)
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.page_rules import open_browser

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs/examples/story.ipynb"
IMAGES = ROOT / "docs/images"
_CELL_SECONDS = 600


def executed(parameters: str | None = None) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run from the repository's root.

    Args:
        parameters: Takes the place of the cell that is tagged `parameters`.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if parameters is not None and "parameters" in cell.metadata.get("tags", ()):
            cell.source = parameters
    client = NotebookClient(
        notebook,
        timeout=_CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(ROOT)}},
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # What TensorFlow says while it loads depends on the machine.
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def write_notebook() -> None:
    """Runs the notebook and writes it back, with the outputs and without this Python's version."""
    notebook = executed()
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, NOTEBOOK)


def take_screenshots(run: Path) -> None:
    """Takes the report of a run and the first page of the site as PNG files."""
    shots = {
        "report": (run / "report.html", 1100, 1100),
        "docs": (ROOT / "site/index.html", 1280, 800),
    }
    IMAGES.mkdir(exist_ok=True)
    with open_browser() as browser:
        for name, (page, width, height) in shots.items():
            view = browser.new_page(viewport={"width": width, "height": height})
            view.goto(page.resolve().as_uri())
            view.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["notebook"]:
            write_notebook()
        case ["screenshots", run]:
            take_screenshots(Path(run))
        case _:
            sys.exit(__doc__)
