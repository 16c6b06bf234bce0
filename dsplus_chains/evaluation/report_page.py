"""A report as one HTML page that runs nothing and needs no other file, and as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

from dsplus_chains.evaluation.plots import for_page
from dsplus_chains.schema import html_table

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1c1c1c;--rule:#8a8a8a;--line:#e4e4e4}
@media(prefers-color-scheme:dark){:root{--page:#161616;--ink:#e8e8e8;--rule:#7a7a7a;--line:#3a3a3a}}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
body{color:var(--ink);background:var(--page)}
h1{font-size:1.5rem}h1,h2,.lead{overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}.lead{font-size:1.1rem}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.5rem 0}
th,td{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top;overflow-wrap:normal}
th{border-bottom:1px solid var(--rule)}td{border-bottom:1px solid var(--line)}
.prose{overflow-wrap:anywhere;min-width:12rem}summary{cursor:pointer}
.plots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;max-width:100%}
.plots svg{max-width:100%;height:auto}.plots svg text{fill:currentColor}
.matrix th:not(:first-child){writing-mode:vertical-rl}
figcaption{max-width:23rem;font-size:.85rem}
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled table.

    Args:
        title: Its heading.
        text: A sentence before the table.
        header: Names of the columns.
        rows: Texts, one a column.
        prose: Names of the columns that hold running text.
        matrix: Whether the names of the columns are written downwards, as they are longer than what stands below.
    """

    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    prose: Collection[str] = ()
    matrix: bool = False


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot and what it shows.

    Args:
        name: Its name, which is also that of its file.
        svg: The plot itself.
        about: What it shows, in words.
    """

    name: str
    svg: str
    about: str

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.replace("_", " ")


def as_html(
    title: str, lead: str, plots: Sequence[Plot], sections: Sequence[Section], *, points: Sequence[str] = ()
) -> str:
    """The whole page.

    Args:
        title: Its heading.
        lead: What was found.
        plots: The plots.
        sections: The tables.
        points: What each point of a curve says under the pointer.
    """
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p><div class="plots">',
    ]
    for plot in plots:
        svg = for_page(plot.svg, name=plot.name, title=plot.title, description=plot.about, points=points)
        parts.append(f"<figure>{svg}<figcaption>{escape(plot.about)}</figcaption></figure>")
    parts.append("</div>")
    for section in sections:
        text = f"<p>{escape(section.text)}</p>" if section.text else ""
        table = html_table(section.header, section.rows, prose=section.prose)
        kind = "wide matrix" if section.matrix else "wide"
        parts.append(f'<h2>{escape(section.title)}</h2>{text}<div class="{kind}">{table}</div>')
    return "\n".join(parts) + "\n</body></html>\n"


def as_markdown(title: str, lead: str, plots: Sequence[Plot], sections: Sequence[Section]) -> str:
    """The same as Markdown. Each plot is a file beside it."""
    lines = [f"# {title}", "", lead, "", *(f"![{plot.about}]({plot.name}.svg)" for plot in plots), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        lines += [_markdown_row(section.header), _markdown_row(["---"] * len(section.header))]
        lines += [*(_markdown_row(row) for row in section.rows), ""]
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    # An input is data, so it may neither break the table nor become markup.
    return "| " + " | ".join(" ".join(escape(cell, quote=False).split()).replace("|", "\\|") for cell in cells) + " |"
