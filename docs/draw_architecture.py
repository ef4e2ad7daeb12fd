"""Draws architecture.svg, the rooms of the app by floor and what imports what: python -m docs.draw_architecture"""

from pathlib import Path
from xml.sax.saxutils import escape

from tests.architecture import FLOORS, arrows

FILE = Path(__file__).with_name("architecture.svg")
WIDTH, FLOOR_HEIGHT, ROOM_WIDTH, ROOM_HEIGHT = 880, 84, 190, 46
PURPOSES = {
    "conf": "settings",
    "pictures": "bytes → pixels",
    "encoders": "pixels → vectors",
    "search": "inside similar_to()",
    "query": "similar_to(), ranked()",
    "models": "VisuallySimilarModel",
    "visibility": "what may be shown",
    "embedding": "rows → vectors",
    "tasks": "one product's vectors",
    "catalogue": "all products at once",
    "signals": "a picture is saved",
    "checks": "manage.py check",
    "migrating": "manage.py migrate",
    "spreadsheets": "django-import-export",
    "templatetags": "{% similar_products %}",
    "management": "manage.py commands",
    "admin": "Django's admin",
    "rest_framework": "the API",
    "merchandising": "pins and hides",
    "apps": "start of the app",
}


DRAWING = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>The rooms of similar_products by floor; an arrow leads to a room that is imported</title>
<style>
path {{ fill: none; stroke: #64748b; stroke-width: 1.4 }}
#head path {{ fill: #64748b; stroke: none }}
.room {{ fill: #eef2ff; stroke: #4f46e5 }}
text {{ fill: #0f172a; font: 13px sans-serif; text-anchor: middle }}
.name {{ font-weight: bold }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L8 4L0 8z"/></marker></defs>
<rect width="{width}" height="{height}" fill="#fff"/>
{lines}
{boxes}
</svg>
"""


def reachable(imported: dict[str, set[str]], start: str) -> set[str]:
    """Return the rooms that ``start`` imports, itself or through others."""
    return imported[start].union(*(reachable(imported, name) for name in imported[start]))


def draw() -> str:
    """Return the drawing. An arrow that follows from two others is left out."""
    imported: dict[str, set[str]] = {name: set() for rooms in FLOORS for name in rooms}
    places: dict[str, tuple[int, int]] = {}
    for (importer, name), found in arrows().items():
        if not found[0].runs_up:  # a test's to report
            imported[importer].add(name)
    for number, rooms in enumerate(reversed(FLOORS)):
        for position, name in enumerate(sorted(rooms), start=1):
            places[name] = (round(WIDTH * (position - 0.5) / len(rooms)), FLOOR_HEIGHT * number + FLOOR_HEIGHT // 2)
    lines, boxes = [], []
    for name, (x, y) in places.items():
        through_others = set().union(*(reachable(imported, other) for other in imported[name]))
        for x2, y2 in (places[other] for other in sorted(imported[name] - through_others)):
            start, end = y + ROOM_HEIGHT // 2, y2 - ROOM_HEIGHT // 2 - 3
            middle = (start + end) // 2
            lines.append(f'<path d="M{x} {start}C{x} {middle} {x2} {middle} {x2} {end}" marker-end="url(#head)"/>')
        boxes.append(
            f'<rect class="room" x="{x - ROOM_WIDTH // 2}" y="{y - ROOM_HEIGHT // 2}" rx="6" '
            f'width="{ROOM_WIDTH}" height="{ROOM_HEIGHT}"/><text class="name" x="{x}" y="{y - 3}">{name}</text>'
            f'<text x="{x}" y="{y + 14}">{escape(PURPOSES[name])}</text>'
        )
    return DRAWING.format(
        width=WIDTH, height=FLOOR_HEIGHT * len(FLOORS), lines="\n".join(lines), boxes="\n".join(boxes)
    )


if __name__ == "__main__":
    FILE.write_text(draw())
