"""Leads from CSV: what becomes of columns, values and rows, and which files are refused."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from features.contract import Contract
from features.contract_file import parse_yaml
from features.csv_bytes import EmptyFile, NotCsv, WrongEncoding
from features.csv_checks import MissingColumns
from features.csv_files import NoLeads
from features.ingest import (
    Counts,
    Leads,
    OneClass,
    SeparatedNumbers,
    TooManyQuarantined,
    UnknownLabels,
    check_leads,
    count_leads,
    read_leads,
)
from features.storage import MissingPath

SMALL = """\
name: small
score_at: browsing
csv: {delimiter: ",", encoding: UTF-8, multiline: false}
nulls: ["", "Select"]
max_quarantined: 0.5
fields:
  - {name: Id, source: Lead Id, kind: id, known_at: capture, max_length: 8}
  - {name: When, source: Created, kind: order, known_at: capture}
  - {name: Won, source: Won, kind: label, known_at: outcome}
  - {name: Visits, source: Visits, kind: numeric, known_at: browsing, limits: {min: 0, max: 5000}}
  - {name: Town, source: City, kind: category, known_at: capture, max_length: 12}
  - {name: Junk, source: Notes, kind: ignored, known_at: capture}
"""
HEADER = "Lead Id,Created,Won,Visits,City"


def changed(old: str = "", new: str = "") -> Contract:
    """The small contract, after one change."""
    assert old in SMALL
    return parse_yaml(SMALL.replace(old, new, 1), Contract, "small.yaml")


class Desk:
    """Writes a CSV and reads it by the small contract."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder

    def write(self, content: str | bytes, name: str = "leads.csv") -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def read(self, *rows: str, header: str = HEADER, contract: Contract | None = None, labelled: bool = True) -> Leads:
        path = self.write("\n".join([header, *rows]) + "\n")
        return read_leads(self.spark, path, contract or changed(), labelled)

    def good(self, *rows: str, **how) -> list[tuple]:
        return sorted(tuple(r) for r in self.read(*rows, **how).good.collect())

    def values(self, field: str, *values: str, contract: Contract | None = None) -> list:
        """What the values of one field become."""
        cells = {
            "Visits": "a{i},{i},0,{v},x",
            "Town": "a{i},{i},0,1,{v}",
            "When": "a{i},{v},0,1,x",
            "Won": "a{i},{i},{v},1,x",
        }
        rows = [cells[field].format(i=i, v=v) for i, v in enumerate(values)]
        return [r[field] for r in self.read(*rows, contract=contract).good.orderBy("Id").collect()]

    def reason(self, row: str, **how) -> str:
        """Why the row is quarantined."""
        (found,) = self.read(row, **how).quarantined.collect()
        return found.reason

    def check(self, *rows: str, contract: Contract | None = None, labelled: bool = True) -> Counts:
        contract = contract or changed()
        return check_leads(self.read(*rows, contract=contract, labelled=labelled), contract)


@pytest.fixture
def desk(spark, tmp_path) -> Desk:
    return Desk(spark, tmp_path)


# Columns


def test_good_leads_have_the_contracts_names_and_types(desk):
    assert desk.read("a,7,1,3,Pune").good.dtypes == [
        ("Id", "string"),
        ("When", "double"),
        ("Won", "int"),
        ("Visits", "double"),
        ("Town", "string"),
    ]


def test_columns_are_found_by_header_in_any_order(desk):
    assert desk.good("Pune,x,3,1,7,a", header="City,Notes,Visits,Won,Created,Lead Id") == [("a", 7.0, 1, 3.0, "Pune")]


def test_a_column_that_the_contract_lacks_is_named_and_left_out(desk):
    leads = desk.read("a,7,1,3,Pune,44", header=HEADER + ",Shoe size")
    assert leads.unknown_columns == ("Shoe size",)
    assert [tuple(r) for r in leads.good.collect()] == [("a", 7.0, 1, 3.0, "Pune")]


def test_a_missing_column_is_refused_before_any_row_is_read(desk):
    with pytest.raises(MissingColumns, match=r"leads\.csv lacks 'City'"):
        desk.read("a,7,1,3", header="Lead Id,Created,Won,Visits")


def test_the_label_may_be_missing_where_leads_are_scored(desk):
    leads = desk.read("a,7,3,Pune", header="Lead Id,Created,Visits,City", labelled=False)
    assert [tuple(r) for r in leads.good.collect()] == [("a", 7.0, None, 3.0, "Pune")]


def test_a_blank_or_unknown_label_is_null_where_leads_are_scored(desk):
    rows = desk.good("a,7,,3,Pune", "b,8,open,3,Pune", "c,9,1,3,Pune", labelled=False)
    assert [r[2] for r in rows] == [None, None, 1]


# Values


def test_an_unanswered_select_counts_as_missing(desk):
    assert desk.values("Town", "Select", "Mumbai", "", " Select ") == [None, "Mumbai", None, None]


def test_a_word_that_is_no_null_word_stays(desk):
    assert desk.values("Town", "null", "NA", "\\N", "nan") == ["null", "NA", "\\N", "nan"]


def test_an_empty_value_is_kept_where_the_contract_does_not_call_it_null(desk):
    assert desk.values("Town", "", '""', contract=changed('["", "Select"]', '["Select"]')) == ["", ""]


def test_text_is_trimmed_and_keeps_inner_spaces(desk):
    assert desk.values("Town", "  New  Delhi ", '" Pune "', "\u00a0Agra\t") == ["New  Delhi", "Pune", "Agra"]


def test_quotes_hold_delimiters_and_quotes(desk):
    assert desk.values("Town", '"a, ""b"""') == ['a, "b"']


def test_plain_numbers_are_read(desk):
    texts = ["5", " 5 ", "5.", "5.0", "+5", ".5e1", "5E0", '"5"']
    assert desk.values("Visits", *texts) == [5.0] * len(texts)


def test_a_missing_number_is_null_and_the_row_good(desk):
    assert desk.values("Visits", "") == [None]


def test_thousands_are_read_where_the_contract_names_their_separator(desk):
    contract = changed("kind: numeric,", 'kind: numeric, thousands: ",",')
    assert desk.values("Visits", '"1,234"', '"1,234.5"', "12", contract=contract) == [1234.0, 1234.5, 12.0]


def test_a_comma_is_the_decimal_mark_where_a_point_separates_thousands(desk):
    contract = changed("kind: numeric,", 'kind: numeric, thousands: ".",')
    assert desk.values("Visits", '"1.234,5"', '"12,5"', "12", contract=contract) == [1234.5, 12.5, 12.0]


def test_thousands_may_be_split_by_a_space_of_any_width(desk):
    contract = changed("kind: numeric,", 'kind: numeric, thousands: " ",')
    assert desk.values("Visits", "1 234", "1\u00a0234", "1\u202f234", contract=contract) == [1234.0] * 3


def test_a_float_like_label_is_read(desk):
    assert desk.values("Won", "1.0", "0.0", "1", "0", "1.00") == [1, 0, 1, 0, 1]


def test_label_words_are_those_of_the_contract(desk):
    contract = changed("kind: label,", 'kind: label, true_words: ["Yes"], false_words: ["No"],')
    assert desk.values("Won", "Yes", "No", contract=contract) == [1, 0]


def test_an_order_that_is_an_iso_timestamp_becomes_seconds(desk):
    texts = ["1970-01-02", "1970-01-01 00:01:00", "1970-01-01T00:01:00.5Z", "1970-01-01T02:00:00+01:00"]
    assert desk.values("When", *texts) == [86400.0, 60.0, 60.5, 3600.0]


# Rows that are quarantined


REASONS = [
    ("a,7,1,3", "too few values: 4 under 5 headers"),
    ("a,7,1,3,Pune,x", "too many values: 6 under 5 headers"),
    ('a,7,1,3,Pune,"x,y"', "too many values: 6 under 5 headers"),
    ('a,7,1,"3,Pune', "a quote is not closed (set csv.multiline if values hold line breaks)"),
    (",7,1,3,Pune", "Id is missing"),
    ("Select,7,1,3,Pune", "Id is missing"),
    ("a,7,,3,Pune", "Won is missing"),
    ("a,,1,3,Pune", "When is missing"),
    ("a,soon,1,3,Pune", "When is neither a number nor an ISO timestamp: 'soon'"),
    ("a,2024-13-01,1,3,Pune", "When is neither a number nor an ISO timestamp: '2024-13-01'"),
    ("a,7,1,many,Pune", "Visits is not a number: 'many'"),
    ("a,7,1,1d,Pune", "Visits is not a number: '1d'"),
    ("a,7,1,0x1A,Pune", "Visits is not a number: '0x1A'"),
    ("a,7,1,NaN,Pune", "Visits is not finite: 'NaN'"),
    ("a,7,1,-inf,Pune", "Visits is not finite: '-inf'"),
    ("a,7,1,1e999,Pune", "Visits is not finite: '1e999'"),
    ("a,7,1,-1,Pune", "Visits is outside its limits 0 to 5000: '-1'"),
    ("a,7,1,5001,Pune", "Visits is outside its limits 0 to 5000: '5001'"),
    ("a,7,1,3,Thiruvananthapuram", "Town is longer than 12 characters: 'Thiruvananthapuram'"),
    ("123456789,7,1,3,Pune", "Id is longer than 8 characters: '123456789'"),
    ("a,7,1,3," + "x" * 100, f"Town is longer than 12 characters: '{'x' * 57}...'"),
]


@pytest.fixture(scope="module")
def reasons(spark, tmp_path_factory) -> dict[str, str]:
    """Why each of the rows above is quarantined, by the row's text; one reading for all."""
    leads = Desk(spark, tmp_path_factory.mktemp("reasons")).read(*(row for row, _ in REASONS))
    return {r.raw: r.reason for r in leads.quarantined.collect()}


@pytest.mark.parametrize(("row", "reason"), REASONS)
def test_a_quarantined_row_says_why(reasons, row, reason):
    assert reasons[row] == reason


def test_a_quarantined_row_is_kept_as_it_was_written(desk):
    leads = desk.read('a,7,1,"many, very",Pune', "b,7,1,3")
    assert {r.raw for r in leads.quarantined.collect()} == {'a,7,1,"many, very",Pune', "b,7,1,3"}


def test_a_quarantined_row_names_its_file(desk):
    path = desk.write(f"{HEADER}\na,7,1,many,Pune\n", "my leads + [1] 100%.csv")
    (row,) = read_leads(desk.spark, path, changed()).quarantined.collect()
    assert row.source_file == f"file:{path}"


def test_a_quarantined_row_is_not_among_the_good(desk):
    assert [r[0] for r in desk.good("a,7,1,many,Pune", "b,7,1,3,Pune")] == ["b"]


def test_unknown_columns_count_when_values_are_too_few(desk):
    assert desk.reason("a,7,1,3,Pune", header=HEADER + ",Shoe size") == "too few values: 5 under 6 headers"


def test_of_leads_with_one_id_the_newest_stays(desk):
    leads = desk.read("a,1,0,3,Pune", "a,9,1,3,Agra", "a,5,0,3,Pune")
    assert [(r.Id, r.When) for r in leads.good.collect()] == [("a", 9.0)]
    assert {r.reason for r in leads.quarantined.collect()} == {
        "Id repeats (the row with the largest When is kept): 'a'"
    }


def test_a_newer_lead_that_cannot_be_used_does_not_push_out_the_older(desk):
    assert desk.good("a,1,0,3,Pune", "a,9,0,many,Pune") == [("a", 1.0, 0, 3.0, "Pune")]


def test_which_of_two_equally_new_leads_stays_does_not_depend_on_their_order(desk):
    rows = ["a,1,0,3,Pune", "a,1,0,4,Pune", "a,1,1,3,Agra"]
    assert desk.good(*rows) == desk.good(*reversed(rows))


def test_rows_without_any_value_are_no_rows(desk):
    assert count_leads(desk.read("a,7,1,3,Pune", "", ",,,,", "   "), changed()).rows == 1


def test_line_breaks_in_quotes_are_read_where_the_contract_says_so(desk):
    contract = changed("multiline: false", "multiline: true")
    assert desk.good('a,7,1,3,"New\nDelhi"', "b,8,0,3,Pune", contract=contract)[0][4] == "New\nDelhi"


# Rows quoted as a whole


def test_a_row_quoted_as_a_whole_is_recovered(desk):
    assert desk.good('"a,7,1,3,""New, D"""') == [("a", 7.0, 1, 3.0, "New, D")]


def test_a_row_quoted_as_a_whole_and_padded_with_delimiters_is_recovered(desk):
    assert desk.good('"a,7,1,3,Pune",,,,') == [("a", 7.0, 1, 3.0, "Pune")]


def test_recovered_rows_are_counted(desk):
    counts = count_leads(desk.read('"a,7,1,3,""New, D"""', "b,7,1,3,Pune"), changed())
    assert (counts.good, counts.recovered) == (2, 1)


def test_a_header_quoted_as_a_whole_is_read(desk):
    assert desk.good('"a,7,1,3,""Pune"""', header='"Lead Id,Created,Won,Visits,""City"""')[0][4] == "Pune"


def test_a_row_quoted_as_a_whole_that_is_too_short_is_kept_as_it_was(desk):
    (row,) = desk.read('"a,7,1"').quarantined.collect()
    assert row.raw == '"a,7,1"'


def test_a_row_whose_only_quote_is_open_is_not_recovered(desk):
    assert desk.reason('"a,7,1,3,Pune').startswith("a quote is not closed")


# Files


def test_a_folder_is_read_as_one(desk):
    desk.write(f"{HEADER}\na,7,1,3,Pune\n", "in/1.csv")
    desk.write(f"{HEADER}\nb,7,1,3,Pune\n", "in/2.CSV")
    desk.write("not leads", "in/README.md")
    leads = read_leads(desk.spark, str(desk.folder / "in"), changed())
    assert {r.Id for r in leads.good.collect()} == {"a", "b"}


def test_each_file_is_read_by_its_own_header(desk):
    desk.write(f"{HEADER}\na,7,1,3,Pune\n", "1.csv")
    desk.write("Visits,City,Won,Lead Id,Created\n4,Agra,0,b,8\n", "2.csv")
    leads = read_leads(desk.spark, f"{desk.folder}/*.csv", changed())
    assert sorted(map(tuple, leads.good.collect())) == [("a", 7.0, 1, 3.0, "Pune"), ("b", 8.0, 0, 4.0, "Agra")]


def test_an_id_that_stands_in_two_files_stays_once(desk):
    desk.write(f"{HEADER}\na,7,1,3,Pune\n", "1.csv")
    desk.write("Visits,City,Won,Lead Id,Created\n4,Agra,0,a,8\n", "2.csv")
    leads = read_leads(desk.spark, f"{desk.folder}/*.csv", changed())
    assert [r.Town for r in leads.good.collect()] == ["Agra"]


def test_a_file_of_several_without_rows_does_no_harm(desk):
    desk.write(f"{HEADER}\na,7,1,3,Pune\n", "1.csv")
    desk.write(f"{HEADER}\n", "2.csv")
    assert read_leads(desk.spark, str(desk.folder), changed()).good.count() == 1


def test_of_several_files_the_one_at_fault_is_named(desk):
    desk.write(f"{HEADER}\na,7,1,3,Pune\n", "1.csv")
    desk.write("Lead Id,Created,Won,Visits\nb,8,0,4\n", "2.csv")
    with pytest.raises(MissingColumns, match=r"2\.csv lacks 'City'"):
        read_leads(desk.spark, str(desk.folder), changed())


def test_a_name_with_glob_characters_is_taken_as_it_is(desk):
    path = desk.write(f"{HEADER}\na,7,1,3,Pune\n", "leads [1] {a,b} 50%.csv")
    assert read_leads(desk.spark, path, changed()).good.count() == 1


def test_a_uri_is_a_path(desk):
    path = desk.write(f"{HEADER}\na,7,1,3,Pune\n")
    assert read_leads(desk.spark, f"file://{path}", changed()).good.count() == 1


def test_a_missing_path_is_refused(desk):
    with pytest.raises(MissingPath, match=r"no\.csv does not exist"):
        read_leads(desk.spark, str(desk.folder / "no.csv"), changed())


def test_a_pattern_without_matches_is_refused(desk):
    with pytest.raises(MissingPath, match="does not exist"):
        read_leads(desk.spark, f"{desk.folder}/*.csv", changed())


def test_a_folder_without_a_csv_names_what_it_holds(desk):
    desk.write(b"PK\x03\x04", "leads.xlsx")
    with pytest.raises(NoLeads, match=r"holds no CSV \(found leads\.xlsx\)"):
        read_leads(desk.spark, str(desk.folder), changed())


def test_an_empty_file_is_refused(desk):
    with pytest.raises(EmptyFile, match="0 bytes"):
        read_leads(desk.spark, desk.write(b""), changed())


def test_a_header_without_rows_is_refused(desk):
    with pytest.raises(NoLeads, match="a header and no rows"):
        desk.read()


def test_a_workbook_is_refused(desk):
    with pytest.raises(NotCsv, match="Save As > CSV UTF-8"):
        read_leads(desk.spark, desk.write(b"PK\x03\x04rest"), changed())


def test_a_gzip_file_is_read(desk):
    path = desk.write(gzip.compress(f"{HEADER}\na,7,1,3,Pune\n".encode()), "leads.csv.gz")
    assert read_leads(desk.spark, path, changed()).good.count() == 1


# Character sets


def test_a_utf8_mark_is_no_part_of_the_first_header(desk):
    path = desk.write(b"\xef\xbb\xbf" + f"{HEADER}\na,7,1,3,Köln\n".encode())
    assert [r.Town for r in read_leads(desk.spark, path, changed()).good.collect()] == ["Köln"]


@pytest.mark.parametrize("encoding", ["windows-1252", "ISO-8859-15", "UTF-16"])
def test_other_character_sets_are_read_where_the_contract_names_them(desk, encoding):
    path = desk.write(f"{HEADER}\na,7,1,3,Zürich €\n".encode(encoding))
    leads = read_leads(desk.spark, path, changed("UTF-8", encoding))
    assert [r.Town for r in leads.good.collect()] == ["Zürich €"]


def test_raw_text_is_in_the_contracts_character_set(desk):
    path = desk.write(f"{HEADER}\na,7,1,many,5 €\n".encode("windows-1252"))
    (row,) = read_leads(desk.spark, path, changed("UTF-8", "windows-1252")).quarantined.collect()
    assert row.raw == "a,7,1,many,5 €"


def test_another_character_set_in_the_head_is_refused(desk):
    path = desk.write(f"{HEADER}\na,7,1,3,Zürich\n".encode("windows-1252"))
    with pytest.raises(WrongEncoding, match=r"\(line 2\) is 0xfc; it looks like windows-1252"):
        read_leads(desk.spark, path, changed())


def test_another_character_set_beyond_the_head_is_quarantined(desk, monkeypatch):
    monkeypatch.setattr("features.csv_files.HEAD_BYTES", 40)
    path = desk.write(f"{HEADER}\na,7,1,3,Pune\nb,8,1,3,Zürich\n".encode("windows-1252"))
    (row,) = read_leads(desk.spark, path, changed()).quarantined.collect()
    assert row.reason == "Town holds bytes that are not in csv.encoding: 'Z\ufffdrich'"


# Delimiters


@pytest.mark.parametrize(("mark", "written"), [(";", ";"), ("\t", r"\t"), ("|", "|")])
def test_the_contracts_delimiter_splits_rows(desk, mark, written):
    rows = [f"a;7;1;;{mark}".replace(";", mark)[:-1] + "Pune", "b;8;0;3;".replace(";", mark)]
    contract = changed('delimiter: ","', f'delimiter: "{written}"')
    assert desk.good(*rows, header=HEADER.replace(",", mark), contract=contract) == [
        ("a", 7.0, 1, None, "Pune"),
        ("b", 8.0, 0, 3.0, None),
    ]


def test_the_contracts_quote_holds_delimiters(desk):
    contract = changed('delimiter: ","', """delimiter: ",", quote: "'\"""")
    assert desk.good("a,7,1,3,'New, D'", contract=contract)[0][4] == "New, D"


# Counts and refusals


def test_counts_add_up_and_name_the_faults(desk):
    rows = ["a,1,0,3,x", "b,2,1,3,x", "c,3,1,3,x", "d,4,1,bad,x", "e,5,1,worse,x", "a,0,1,3,x", "f,6"]
    counts = count_leads(desk.read(*rows), changed())
    assert (counts.rows, counts.good, counts.labels) == (7, 3, {0: 1, 1: 2})
    assert counts.quarantined == {
        "Visits is not a number": 2,
        "Id repeats (the row with the largest When is kept)": 1,
        "too few values": 1,
    }


def test_a_good_file_passes(desk):
    assert desk.check("a,1,0,3,x", "b,2,1,3,x").good == 2


def test_a_few_bad_rows_pass(desk):
    assert desk.check("a,1,0,3,x", "b,2,1,3,x", "c,3,1,bad,x").quarantined == {"Visits is not a number": 1}


def test_too_many_bad_rows_are_refused_with_the_reasons(desk):
    rows = ["a,1,0,3,x", "b,2,1,bad,x", "c,3,1,bad,x", "d,4,1,-1,x"]
    with pytest.raises(
        TooManyQuarantined, match=r"3 of 4 rows .* \(75\.0%; .* allows 50\.0%\): 2 x Visits is not a number"
    ):
        desk.check(*rows)


def test_unknown_labels_are_refused_with_their_counts(desk):
    rows = ["a,1,Yes,3,x", "b,2,Yes,3,x", "c,3,No,3,x", "d,4,1,3,x"]
    with pytest.raises(
        UnknownLabels, match=r"'Won' of .* holds 'Yes' \(2 rows\), 'No' \(1 rows\); expected '1', '1\.0' or"
    ):
        desk.check(*rows)


def test_one_class_is_refused(desk):
    with pytest.raises(OneClass, match=r"all 2 leads of .* have the same Won \('0'\)"):
        desk.check("a,1,0,3,x", "b,2,0,3,x")


def test_one_class_is_no_matter_where_leads_are_scored(desk):
    assert desk.check("a,1,0,3,x", "b,2,0,3,x", labelled=False).good == 2


@pytest.mark.parametrize(("number", "separator"), [('"1,234"', ","), ('"1.234,5"', "."), ("1 234", " ")])
def test_separators_in_numbers_are_refused_with_the_remedy(desk, number, separator):
    with pytest.raises(SeparatedNumbers) as refused:
        desk.check("a,1,0,3,x", "b,2,1,3,x", f"c,3,1,{number},x")
    assert number.strip('"') in str(refused.value)
    assert f'set `thousands: "{separator}"` on Visits' in str(refused.value)


def test_a_date_in_a_number_is_no_separated_number(desk):
    assert desk.reason("a,7,1,12.03.2024,x") == "Visits is not a number: '12.03.2024'"


# The real leads


@pytest.fixture(scope="module")
def real_leads(spark, contract, leads_csv) -> Iterator[Leads]:
    leads = read_leads(spark, str(leads_csv), contract)
    leads.checked.cache()
    yield leads
    leads.checked.unpersist()


def test_the_real_leads_are_all_good(real_leads, contract):
    counts = check_leads(real_leads, contract)
    assert (counts.rows, counts.good, counts.quarantined, counts.recovered) == (9240, 9240, {}, 0)


def test_3561_of_the_real_leads_converted(real_leads, contract):
    assert check_leads(real_leads, contract).labels == {0: 5679, 1: 3561}


def test_the_contract_names_every_column_of_the_real_leads(real_leads):
    assert real_leads.unknown_columns == ()


def test_unanswered_fields_of_the_real_leads_are_null(real_leads):
    assert real_leads.good.where("TotalVisits is null").count() == 137


def test_an_unanswered_select_of_the_real_leads_is_null(real_leads):
    assert real_leads.good.where("City is null").count() == 1420 + 2249
