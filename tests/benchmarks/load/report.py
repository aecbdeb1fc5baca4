"""Writes the tables and plots of a bench: beside its results file, and into docs/performance.md when told to."""

from pathlib import Path
from typing import Final

from tests.benchmarks.load.plots import plots
from tests.benchmarks.load.results import Results
from tests.benchmarks.load.tables import document

BEGIN: Final = "<!-- measured: written by make bench, between here and the end mark -->"
END: Final = "<!-- end of what was measured -->"
_DOCS: Final = Path(__file__).resolve().parents[3] / "docs"


def write_report(results: Results, folder: Path, *, docs: bool) -> list[Path]:
    """Write the files; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    made = plots(results)
    written = [_written(folder / "performance.md", document(results) + "\n")]
    written += [_written(folder / name, plot) for name, plot in made.items()]
    if docs:
        page, pictures = _DOCS / "performance.md", _DOCS / "performance"
        pictures.mkdir(exist_ok=True)
        for old in pictures.glob("*.svg"):
            old.unlink()
        written += [_written(pictures / name, plot) for name, plot in made.items()]
        shown = "\n".join(f"![{Path(name).stem}](performance/{name})" for name in made)
        written.append(
            _written(page, replaced(page.read_text("utf-8"), f"{document(results)}\n\n### Plots\n\n{shown}"))
        )
    return written


def replaced(page: str, measured: str) -> str:
    """Return the page with what stands between its marks replaced. Raises `ValueError` if it has none."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"the page has no {BEGIN} followed by {END}")
    return f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}"


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
