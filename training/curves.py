"""Draw the curves of a training from its log: python -m training.curves LOG PICTURE.svg"""

import argparse
import json
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, MARGIN = 640, 320, 48
CURVES = (
    ("training_cosine", "cosine to the teacher, in training", "#2a78b5"),
    ("held_out_cosine", "the same on crops held out, averaged weights", "#c8553d"),
    ("clothing_precision", "P@10 on clothing never trained on, averaged weights", "#3a7d44"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("picture", type=Path, help="The .svg to write.")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    arguments.picture.write_text(drawn(lines))


def drawn(lines: list[dict[str, Any]]) -> str:
    """Return the SVG; every curve lies between 0 and 1 on an axis of minutes."""
    for line in lines:
        if "cosine_loss" in line:
            line["training_cosine"] = 1 - line["cosine_loss"]
    end = max(line["minutes"] for line in lines)

    def place(minutes: float, value: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * minutes / end
        return f"{x:.1f},{HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value:.1f}"

    def text(minutes: float, value: float, words: str, *, anchor: str, down: float = 4, left: float = 0) -> str:
        x, y = (float(number) for number in place(minutes, value).split(","))
        return f'<text x="{x - left:.1f}" y="{y + down:.1f}" text-anchor="{anchor}">{words}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" fill="#333">',
        f'<style>text {{ font-family: sans-serif }}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for tenths in range(0, 11, 2):
        value = tenths / 10
        parts.append(f'<polyline points="{place(0, value)} {place(end, value)}" stroke="#ddd"/>')
        parts.append(text(0, value, f"{value:.1f}", anchor="end", left=6))
    parts += [text(at, 0, str(at), anchor="middle", down=16) for at in range(0, int(end) + 1, 10)]
    parts.append(text(end, 0, "minutes", anchor="end", down=32))
    for row, (name, words, color) in enumerate(CURVES):
        points = [place(line["minutes"], line[name]) for line in lines if name in line]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        parts.append(f'<text x="{MARGIN + 8}" y="{16 + 13 * row}" fill="{color}">{words}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
