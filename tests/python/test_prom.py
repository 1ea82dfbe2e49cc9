"""The strict reader of metrics pages refuses what it should."""
import pytest

from prom import Page, Wrong

GOOD = """# HELP a_total what it counts
# TYPE a_total counter
a_total 3
# TYPE b gauge
b{x="1",y="a\\"b\\\\c\\nd"} -2.5e-3
b{x="2"} NaN
# TYPE h histogram
h_bucket{le="0.1"} 1
h_bucket{le="+Inf"} 4
h_sum 2
h_count 4
"""


def test_good():
    page = Page(GOOD)
    assert page.get_one("a_total") == 3
    assert page.get_one("b", x="1", y='a"b\\c\nd') == -0.0025
    assert page.sum("h_bucket", le="0.1") == 1


@pytest.mark.parametrize("old,new", [
    ("a_total 3\n", "a_total 3"),
    ("a_total 3", "a_total -3"),
    ("a_total 3", "a_total 3\na_total 3"),
    ("a_total 3", "a_total three"),
    ("a_total 3", "a-total 3"),
    ("a_total 3", "other 3"),
    ("a_total", "a"),
    ("counter", "number"),
    ('x="2"', 'x="2'),
    ('x="2"', 'x="2",x="3"'),
    ('x="2"', '2x="2"'),
    ('{x="2"}', '{x="2" y="3"}'),
    ("# TYPE b gauge\n", ""),
    ("# TYPE b gauge\n", "# TYPE b gauge\n# TYPE b gauge\n"),
    ("h_count 4", "h_count 5"),
    ("h_sum 2\n", ""),
    ('le="0.1"} 1', 'le="0.1"} 5'),
    ('h_bucket{le="+Inf"} 4\n', ""),
    ("h_count 4\n", "h_count 4\n# TYPE a_total counter\n"),
])
def test_bad(old, new):
    text = GOOD.replace(old, new)
    assert text != GOOD
    with pytest.raises((Wrong, KeyError)):
        Page(text)


def test_last_line_must_end():
    with pytest.raises(Wrong):
        Page(GOOD[:-1])
