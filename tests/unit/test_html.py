"""evaluation/html.py: one page that needs nothing beside itself and shows the words of leads as words."""

import re
from html.parser import HTMLParser

import pytest

from evaluation.html import (
    ABSENT,
    Column,
    Facts,
    Mark,
    Note,
    Page,
    Picture,
    Section,
    Table,
    UnevenTable,
    picture,
    render,
)
from evaluation.look import new_figure

EVIL = "<script>alert(1)</script>\"'&"
PNG = b"\x89PNG\r\n\x1a\n"


class Seen(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.text += data


def page_of(*parts, title="Leads", subject="a subject"):
    return render(Page(title, subject, [Section("First", parts)]))


@pytest.fixture(scope="module")
def evil_page():
    table = Table([Column(EVIL), Column("n", ",d")], [[EVIL, 1], [Mark(EVIL), None]], caption=EVIL)
    parts = [EVIL, Note(EVIL), Note(EVIL, "warning"), Facts([(EVIL, EVIL)]), table, Picture(PNG, EVIL, EVIL)]
    return render(Page(EVIL, EVIL, [Section(EVIL, parts)] * 3))


def test_text_of_leads_makes_no_element_in_any_part(evil_page):
    assert "script" not in Seen(evil_page).tags


def test_text_of_leads_is_shown_as_it_is_written(evil_page):
    assert Seen(evil_page).text.count(EVIL) > 3 * 8


def test_an_alternative_text_cannot_leave_its_attribute(evil_page):
    images = [a for a in Seen(evil_page).attributes if a[0] == "img"]
    assert {name for _, name, _ in images} == {"src", "alt"}
    assert ("img", "alt", EVIL) in images


def test_a_page_names_no_address_outside_itself(evil_page):
    linked = [value for _, name, value in Seen(evil_page).attributes if name in ("src", "href", "action")]
    assert linked
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in linked)
    assert not re.search(r"https?:|url\(|@import", evil_page)


def test_a_page_forbids_scripts_and_requests_by_its_policy():
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in [
        value for _, _, value in Seen(page_of("text")).attributes
    ]


def test_numbers_are_written_by_the_columns_spec_and_aligned_right():
    page = page_of(Table([Column("Field"), Column("Leads", ",d"), Column("Rate", ".1%")], [["City", 1234, 0.385]]))
    assert "<td>City</td>" in page
    assert '<td class="number">1,234</td><td class="number">38.5%</td>' in page


def test_an_absent_value_is_a_dash():
    assert f"<td>{ABSENT}</td>" in page_of(Table([Column("Field")], [[None]]))


def test_a_marked_cell_stands_out_and_keeps_its_format():
    assert '<span class="mark">0.92</span>' in page_of(Table([Column("AUC", ".2f")], [[Mark(0.9213)]]))


def test_a_row_that_does_not_fit_its_table_is_refused():
    with pytest.raises(UnevenTable, match="2 cells and the table 1 columns"):
        Table([Column("Field")], [["City", 1]])


def test_every_section_is_linked_from_the_head():
    page = render(Page("Leads", "", [Section(name, []) for name in ("One", "Two", "Three")]))
    assert re.findall(r'<a href="#(s\d)">', page) == re.findall(r'<section id="(s\d)">', page) == ["s1", "s2", "s3"]


def test_a_figure_becomes_the_same_png_every_time():
    first, second = (picture(new_figure("Title", "leads", 3), "words").png for _ in range(2))
    assert first.startswith(PNG)
    assert first == second
