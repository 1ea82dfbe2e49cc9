"""A curve as SVG: x logarithmic, y from zero, whiskers from the lowest to the highest round."""
import math
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50


def nice(top):
    """A round number at or above @top, and its step."""
    step = 10 ** math.floor(math.log10(top))
    for factor in (0.2, 0.5, 1, 2, 5):
        if step * factor * 5 >= top:
            return step * factor * 5, step * factor
    return step * 10, step * 2


def curve(path, title, x_name, y_name, points):
    xs = [math.log10(x) for x, *_ in points]
    low, high = xs[0], max(xs[-1], xs[0] + 0.1)
    top, step = nice(max(p[3] for p in points) or 1)

    def at(x, y):
        return (LEFT + (math.log10(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{WIDTH / 2}" y="22" text-anchor="middle" font-size="15">{escape(title)}</text>']
    for i in range(round(top / step) + 1):
        _, y = at(points[0][0], i * step)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{i * step:g}</text>')
    for x, *_ in points:
        px, _ = at(x, 0)
        out.append(f'<text x="{px:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:,}</text>')
    line = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y, *_ in points)
    out.append(f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="2"/>')
    for x, y, least, most in points:
        px, py = at(x, y)
        out.append(f'<path d="M{px:.1f} {at(x, least)[1]:.1f}V{at(x, most)[1]:.1f}" stroke="#06c"/>')
        out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="#06c"/>')
    out.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_name)}</text>')
    out.append(f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" '
               f'transform="rotate(-90 16 {HEIGHT / 2})">{escape(y_name)}</text>')
    out.append("</svg>\n")
    with open(path, "w") as f:
        f.write("\n".join(out))
