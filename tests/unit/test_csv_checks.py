"""The head of a CSV file: what is accepted, and what each refusal says."""

import codecs
import gzip

import pytest

from features.contract import Contract
from features.contract_file import parse_yaml
from features.csv_bytes import EmptyFile, NotCsv, UnknownEncoding, WrongEncoding, charset_of
from features.csv_checks import (
    Header,
    MissingColumns,
    RepeatedColumns,
    UnreadableHeader,
    WrongDelimiter,
    read_header,
)
from features.csv_numbers import separator_for

CONTRACT = """\
name: small
score_at: browsing
csv: {delimiter: "%s", encoding: %s}
fields:
  - {name: Id, source: Lead Id, kind: id, known_at: capture}
  - {name: When, source: Created, kind: order, known_at: capture}
  - {name: Won, source: Won, kind: label, known_at: outcome}
  - {name: Town, source: City, kind: category, known_at: capture}
  - {name: Junk, source: Notes, kind: ignored, known_at: capture}
"""
GOOD = "Lead Id,Created,Won,City\n1,2,0,Köln\n"


def small(delimiter: str = ",", encoding: str = "UTF-8") -> Contract:
    return parse_yaml(CONTRACT % (delimiter, encoding), Contract, "small.yaml")


def head_of(text: str | bytes, contract: Contract | None = None, whole: bool = True, labelled: bool = True) -> Header:
    raw = text.encode() if isinstance(text, str) else text
    return read_header(raw, whole, "leads.csv", contract or small(), labelled)


def test_columns_keep_the_order_of_the_file():
    assert head_of("City,Won,Created,Lead Id\nx,1,2,3\n").columns == ("City", "Won", "Created", "Lead Id")


def test_a_field_is_found_by_its_header():
    assert head_of("City,Won,Created,Lead Id\nx,1,2,3\n").position(small().id) == 3


def test_spaces_around_headers_do_not_count():
    assert head_of('Lead Id , Created," Won ",City\n').columns == ("Lead Id", "Created", "Won", "City")


def test_unknown_columns_are_named():
    assert head_of("Lead Id,Created,Won,City,Shoe size,Notes\n").unknown == ("Shoe size",)


def test_an_ignored_column_may_be_missing():
    assert "Notes" not in head_of(GOOD).columns


def test_the_label_may_be_missing_where_leads_are_scored():
    assert head_of("Lead Id,Created,City\n1,2,x\n", labelled=False).position(small().label) is None


def test_the_label_may_not_be_missing_where_leads_are_learned_from():
    with pytest.raises(MissingColumns, match="lacks 'Won'"):
        head_of("Lead Id,Created,City\n1,2,x\n")


def test_a_missing_column_comes_with_the_closest_header():
    with pytest.raises(MissingColumns, match=r"leads\.csv lacks 'Lead Id'; .*'lead_ID' for 'Lead Id'.* Rename"):
        head_of("lead_ID,Created,Won,City\n")


def test_a_header_that_differs_by_case_is_suggested_and_not_taken():
    with pytest.raises(MissingColumns, match="'CITY' for 'City'"):
        head_of("Lead Id,Created,Won,CITY\n")


def test_a_file_without_a_header_is_asked_about_it():
    with pytest.raises(MissingColumns, match="The first line is '17,2024-01-05,0,Pune': is it a header"):
        head_of("17,2024-01-05,0,Pune\n")


def test_a_column_that_stands_twice_is_refused():
    with pytest.raises(RepeatedColumns, match="'City' twice"):
        head_of("Lead Id,Created,Won,City,City\n")


def test_unknown_columns_may_stand_twice():
    assert head_of("Lead Id,Created,Won,City,,\n").unknown == ("",)


@pytest.mark.parametrize(("mark", "called"), [(";", "a semicolon"), ("\t", "a tab"), ("|", "a bar")])
def test_another_delimiter_is_named(mark, called):
    with pytest.raises(WrongDelimiter, match=f"split by {called}, and the contract 'small' says ','"):
        head_of(GOOD.replace(",", mark))


def test_commas_where_the_contract_says_semicolons_are_named():
    with pytest.raises(WrongDelimiter, match="split by a comma"):
        head_of(GOOD, small(";"))


@pytest.mark.parametrize(("mark", "written"), [(";", ";"), ("|", "|"), ("\t", r"\t")])
def test_the_delimiter_of_the_contract_is_used(mark, written):
    assert head_of(GOOD.replace(",", mark), small(written)).columns[3] == "City"


def test_a_header_quoted_as_a_whole_is_split():
    assert head_of('"Lead Id,Created,Won,""City"""\n').columns == ("Lead Id", "Created", "Won", "City")


def test_a_header_with_a_delimiter_in_quotes_is_split_by_csv_rules():
    assert head_of('Lead Id,Created,Won,City,"a,b"\n').unknown == ("a,b",)


def test_blank_lines_before_the_header_do_not_count():
    assert head_of("\r\n\r\n" + GOOD).columns[0] == "Lead Id"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_line_ends_are_known(end):
    header = head_of(GOOD.replace("\n", end))
    assert header.columns[-1] == "City"
    assert header.has_rows


def test_a_line_for_excel_is_named():
    with pytest.raises(UnreadableHeader, match="delete that line"):
        head_of("sep=;\n" + GOOD)


def test_a_file_of_blank_lines_is_refused():
    with pytest.raises(UnreadableHeader, match="blank lines only"):
        head_of("\n\n \n")


def test_an_empty_file_is_refused():
    with pytest.raises(EmptyFile, match=r"leads\.csv is empty \(0 bytes\)"):
        head_of(b"")


@pytest.mark.parametrize(("rows", "expected"), [("", False), ("\n \n", False), ("1,2,0,x\n", True)])
def test_a_file_tells_whether_it_has_rows(rows, expected):
    assert head_of("Lead Id,Created,Won,City\n" + rows).has_rows is expected


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"PK\x03\x04....", "an Excel workbook .* Save As > CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"),
        (gzip.compress(GOOD.encode(), mtime=0), "a gzip archive; give it a name that ends in .gz"),
        (b"BZh91AY", "a bzip2 archive"),
        (b"PAR1....", "a parquet file"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_a_file_that_is_no_csv_is_named_for_what_it_is(start, what):
    with pytest.raises(NotCsv, match=what):
        head_of(start)


def test_a_gzip_file_that_is_called_so_is_read():
    header = read_header(gzip.compress(GOOD.encode(), mtime=0), True, "leads.csv.gz", small())
    assert header.columns[3] == "City"


def test_a_utf8_mark_is_accepted():
    assert head_of(codecs.BOM_UTF8 + GOOD.encode()).columns[0] == "Lead Id"


def test_a_utf16_file_is_named():
    with pytest.raises(WrongEncoding, match="is UTF-16, and the contract says UTF-8"):
        head_of(GOOD.encode("utf-16"))


def test_a_utf16_file_is_read_where_the_contract_says_so():
    assert head_of(GOOD.encode("utf-16"), small(encoding="UTF-16")).columns[0] == "Lead Id"


def test_a_file_with_nul_bytes_is_refused():
    with pytest.raises(NotCsv, match=r"holds a NUL \(byte 1\)"):
        head_of(GOOD.encode("utf-16-le"))


def test_bytes_of_another_encoding_are_named_with_byte_line_and_guess():
    with pytest.raises(WrongEncoding, match=r"byte 32 \(line 2\) is 0xf6; it looks like windows-1252"):
        head_of(GOOD.encode("windows-1252"))


def test_utf8_where_the_contract_says_ascii_is_guessed():
    with pytest.raises(WrongEncoding, match="looks like UTF-8"):
        head_of(GOOD, small(encoding="US-ASCII"))


def test_a_head_that_ends_within_a_character_is_not_broken():
    head = GOOD.encode()
    assert head_of(head[: head.index(b"\xc3") + 1], whole=False).has_rows


@pytest.mark.parametrize("encoding", ["utf9", "Shift_JIS", "GBK", "Big5", "EUC-KR"])
def test_a_character_set_that_cannot_be_read_is_refused(encoding):
    with pytest.raises(UnknownEncoding, match=f"'{encoding}'"):
        charset_of(encoding)


@pytest.mark.parametrize("encoding", ["windows-1252", "Cp1251", "ISO-8859-15", "KOI8-R", "windows-1255", "macroman"])
def test_a_one_byte_character_set_is_read_as_latin_and_translated(encoding):
    charset = charset_of(encoding)
    latin = bytes(range(256)).decode("iso-8859-1")
    assert charset.name == "ISO-8859-1"
    assert latin.translate(str.maketrans(charset.translation)) == bytes(range(256)).decode(charset.python, "replace")


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (["1,234"], ","),
        (["12,34,567.5"], ","),
        (["1.234,5"], "."),
        (["12,5"], "."),
        (["1,234", "12,5"], "."),
        (["1 234"], " "),
        (["1\u202f234,5", "7"], " "),
        (["1'234.5"], "'"),
        (["1,234,567", "1.234.567"], None),
    ],
)
def test_a_thousands_separator_is_told_from_examples(examples, expected):
    assert separator_for(examples) == expected
