"""Tables: aligned, escaped, and nothing that JSON lacks."""

import pytest

from energaizer.tables import Document, Table, as_csv, as_json, as_markdown, as_text

TABLE = Table(("Name", ">W"), [("a", "5"), ("bcd", "1000")])


def test_text_is_aligned():
    document = Document("Head", (TABLE,), "sub", ("word " * 40,))
    lines = as_text(document).split("\n")
    assert lines[:6] == ["Head", "sub", "", "Name     W", "a        5", "bcd   1000"]
    assert all(len(line) <= 96 for line in lines)
    assert lines[8].startswith(" word")


def test_markdown_escapes_pipes():
    text = as_markdown(Document("", (Table(("A", ">B"), [("x|y", "< 1")]),)))
    assert text == "| A | B |\n| --- | ---: |\n| x\\|y | &lt; 1 |\n"


def test_csv_keeps_what_some_records_lack_empty():
    assert as_csv([{"a": 1, "b": "x,y"}, {"a": 2, "c": None}]) == 'a,b,c\n1,"x,y",\n2,,\n'


def test_json_refuses_what_it_lacks():
    with pytest.raises(ValueError, match="JSON"):
        as_json({"a": float("nan")})
