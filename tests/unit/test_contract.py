"""The contract and its file: what is refused, with which line, and what the contract answers."""

import pytest
from pydantic import ValidationError

from features.contract import Contract, KnownAt, UnknownFeatureSet
from features.contract_file import ContractError, load_contract, parse_yaml

SMALL = """\
name: small
score_at: browsing
fields:
  - {name: Id, source: id, kind: id, known_at: capture}
  - {name: When, source: when, kind: order, known_at: capture}
  - {name: Won, source: won, kind: label, known_at: outcome}
  - {name: Visits, source: visits, kind: numeric, known_at: browsing}
  - {name: Tag, source: tag, kind: category, known_at: contact}
  - {name: Junk, source: junk, kind: ignored, known_at: capture}
feature_sets:
  late: [Tag, Visits]
"""


def parsed(text: str = SMALL) -> Contract:
    return parse_yaml(text, Contract, "small.yaml")


def complaint(old: str, new: str) -> str:
    """What is said of the small contract after one change."""
    assert old in SMALL
    with pytest.raises(ContractError) as refused:
        parsed(SMALL.replace(old, new, 1))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_shipped_contract_has_the_37_columns_of_the_dataset(contract):
    assert len(contract.fields) == 37


def test_an_unknown_key_is_named_with_its_line():
    assert "small.yaml line 2: score_as: Extra inputs" in complaint("score_at: browsing", "score_as: browsing")


def test_an_unknown_key_of_a_field_is_named_with_its_line():
    assert "line 7: fields.3.limit" in complaint("kind: numeric,", "kind: numeric, limit: 3,")


def test_the_line_of_a_block_is_that_of_its_key():
    assert "line 10: bogus" in complaint("feature_sets:\n", "bogus:\n  a: 1\nfeature_sets:\n")


def test_a_missing_key_is_named_with_the_line_of_its_field():
    assert "line 4: fields.0.source: Field required" in complaint("source: id, ", "")


def test_a_repeated_key_is_named_with_its_line():
    assert "line 2: the key 'name' stands twice" in complaint("score_at", "name")


def test_a_key_repeated_inside_a_field_is_named_with_its_line():
    assert "line 8: the key 'kind' stands twice" in complaint("known_at: contact", "kind: contact")


def test_an_unknown_kind_lists_the_kinds():
    said = complaint("kind: numeric", "kind: number")
    assert "line 7" in said
    assert "'numeric'" in said
    assert "found 'number'" in said


def test_an_unknown_moment_lists_the_moments():
    assert "'later' is none of capture, browsing, contact, outcome" in complaint("known_at: contact", "known_at: later")


@pytest.mark.parametrize("kind", ["id", "label", "order"])
def test_a_second_field_of_a_single_kind_is_refused(kind):
    assert f"exactly one field must be of kind {kind}" in complaint("kind: category", f"kind: {kind}")


def test_a_contract_without_a_label_is_refused():
    assert "exactly one field must be of kind label; found none" in complaint("kind: label", "kind: category")


def test_two_fields_of_one_name_are_refused():
    assert "share the name 'visits'" in complaint("name: Tag", "name: Visits")


def test_names_that_differ_by_case_alone_are_refused():
    assert "share the name 'visits'" in complaint("name: Tag", "name: VISITS")


def test_two_fields_of_one_source_are_refused():
    assert "share the source 'visits'" in complaint("source: tag", 'source: "visits "')


@pytest.mark.parametrize("name", ["2nd", "a b", "a.b", "_a"])
def test_a_name_that_is_no_column_name_is_refused(name):
    assert "fields.4.name" in complaint("name: Tag", f'name: "{name}"')


def test_a_name_with_the_mark_of_model_columns_is_refused():
    assert "two underscores" in complaint("name: Tag", "name: Tag__Won")


def test_limits_of_a_category_are_refused():
    assert "belong to numeric fields" in complaint("kind: category", "kind: category, limits: {min: 0}")


def test_limits_that_are_swapped_are_refused():
    assert "min 5.0 is above max 1.0" in complaint("kind: numeric", "kind: numeric, limits: {min: 5, max: 1}")


@pytest.mark.parametrize("edges", ["[0, 2, 1]", "[0, 1, 1]", "[0, 1]"])
def test_buckets_that_do_not_ascend_are_refused(edges):
    assert "three or more ascending edges" in complaint("kind: numeric", f"kind: numeric, buckets: {edges}")


@pytest.mark.parametrize("mark", ["5", "x", "-"])
def test_a_thousands_separator_that_could_be_part_of_a_number_is_refused(mark):
    assert "thousands of Visits" in complaint("kind: numeric", f'kind: numeric, thousands: "{mark}"')


def test_label_words_that_overlap_are_refused():
    assert "true_words" in complaint("kind: label", 'kind: label, true_words: ["y"], false_words: ["y"]')


def test_a_label_without_true_words_is_refused():
    assert "must hold words" in complaint("kind: label", "kind: label, true_words: []")


def test_a_label_word_that_is_also_a_null_is_refused():
    assert "'0' cannot be both" in complaint("score_at", 'nulls: ["", "0"]\nscore_at')


def test_a_word_that_yaml_takes_for_something_else_is_asked_for_in_quotes():
    assert "(found True); put it in quotes" in complaint("kind: label", "kind: label, true_words: [Yes]")


@pytest.mark.parametrize("delimiter", ["';'", "','"])
def test_a_delimiter_that_is_also_the_quote_is_refused(delimiter):
    assert "must be two characters" in complaint(
        "score_at", f"csv: {{delimiter: {delimiter}, quote: {delimiter}}}\nscore_at"
    )


def test_a_feature_set_of_an_unknown_field_is_refused():
    assert "'late' must list distinct numeric or category fields; wrong: ['Tog']" in complaint("[Tag,", "[Tog,")


def test_a_feature_set_that_names_the_label_is_refused():
    assert "wrong: ['Won']" in complaint("[Tag,", "[Won,")


def test_the_set_of_available_fields_cannot_be_written_by_hand():
    assert "cannot be written by hand" in complaint("late:", "available:")


def test_a_syntax_error_is_named_with_its_line():
    assert "small.yaml line 2 is not YAML" in complaint("score_at: browsing", "score_at: [browsing: }")


def test_a_tag_that_would_run_code_is_refused():
    assert "line 2 is not YAML" in complaint("score_at: browsing", "score_at: !!python/name:os.system ''")


def test_a_part_that_holds_itself_is_refused():
    assert "holds itself" in complaint("[Tag, Visits]", "&me [*me]")


def test_a_file_that_is_a_list_is_refused():
    with pytest.raises(ContractError, match="must be a mapping"):
        parsed("- a\n- b\n")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ContractError, match=r"no\.yaml does not exist; name a Contract file"):
        load_contract(tmp_path / "no.yaml")


def test_a_file_in_another_encoding_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("name: café\n".encode("latin-1"))
    with pytest.raises(ContractError, match=r"latin\.yaml cannot be read as a UTF-8 text file"):
        load_contract(tmp_path / "latin.yaml")


def test_moments_are_ordered():
    assert KnownAt.CAPTURE < KnownAt.BROWSING < KnownAt.CONTACT < KnownAt.OUTCOME


def test_available_holds_what_is_known_when_leads_are_scored():
    assert [f.name for f in parsed().feature_set("available")] == ["Visits"]


def test_a_named_feature_set_keeps_its_own_order():
    assert [f.name for f in parsed().feature_set("late")] == ["Tag", "Visits"]


def test_an_unknown_feature_set_lists_those_that_exist():
    with pytest.raises(UnknownFeatureSet, match="has no feature set 'lite'; it has available, late"):
        parsed().feature_set("lite")


def test_late_fields_are_those_known_after_scoring_in_the_contracts_order():
    assert parsed().late_fields(["Tag", "Visits", "Won"]) == ["Won", "Tag"]


def test_no_available_field_of_the_shipped_contract_is_late(contract):
    assert contract.late_fields([f.name for f in contract.feature_set("available")]) == []


def test_the_documented_set_has_two_late_fields(contract):
    documented = [f.name for f in contract.feature_set("documented")]
    assert contract.late_fields(documented) == ["LeadStatusTag", "FinalEngagementAction"]


def test_kept_fields_are_all_but_the_ignored():
    assert [f.name for f in parsed().kept] == ["Id", "When", "Won", "Visits", "Tag"]


def test_a_contract_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        parsed().name = "other"


def test_a_protected_category_is_sliced_by_though_nobody_asks_for_it_and_it_is_not_available():
    found = parsed(SMALL.replace("{name: Tag,", "{name: Tag, protected: true,"))
    assert [f.name for f in found.sliced] == ["Tag"]
    assert "Tag" not in [f.name for f in found.feature_set("available")]


def test_protected_fields_come_after_the_fields_that_are_asked_for_each_once():
    city = "  - {name: City, source: city, kind: category, known_at: capture, protected: true}\n"
    text = SMALL.replace("  - {name: Tag,", f"{city}  - {{name: Tag, protected: true,")
    found = parsed(text.replace("feature_sets:", "slice_by: [Tag]\nfeature_sets:"))
    assert [f.name for f in found.sliced] == ["Tag", "City"]


def test_a_category_that_is_not_protected_is_not_sliced_by_unless_asked_for():
    assert parsed().sliced == ()


@pytest.mark.parametrize("kind", ["numeric", "label", "id"])
def test_a_field_that_leads_cannot_be_sliced_by_is_not_protected(kind):
    assert "is protected and must be a category" in complaint(f"kind: {kind},", f"kind: {kind}, protected: true,")


def test_the_digest_ignores_comments_and_layout():
    assert parsed("# a comment\n" + SMALL.replace("name: small", 'name:   "small"')).digest() == parsed().digest()


def test_the_digest_follows_a_limit():
    assert parsed(SMALL.replace("kind: numeric", "kind: numeric, limits: {max: 9}")).digest() != parsed().digest()


@pytest.mark.parametrize("name", ["features", "Probability", "lead_group"])
def test_a_field_must_not_take_the_name_of_a_column_that_models_add(name: str) -> None:
    assert "choose another name" in complaint("{name: Visits,", f"{{name: {name},")
