"""What an assembler makes of codes and numbers, by expressions of our own, beside Spark ML's."""

import pytest
from pyspark.ml.feature import OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.ml.functions import vector_to_array

from serving.slots import slots

SEEN = "city string, visits double, pages int"
TEXTS = ["Pune", "Mumbai", "Pune", "Delhi", "Mumbai", "Pune"]


@pytest.fixture(scope="module")
def known(spark):
    return spark.createDataFrame([(text, float(i), i) for i, text in enumerate(TEXTS)], SEEN)


@pytest.fixture(scope="module")
def leads(spark):
    """Leads with words that were not seen, and without a word or a number."""
    rows = [("Pune", 1.5, 2), ("Delhi", -1.0, 3), ("Agra", None, 4), (None, float("inf"), None), ("", 0.0, 0)]
    return spark.createDataFrame(rows, SEEN).coalesce(1)


def between(source, target, single):
    """The columns of a stage that takes one, told as one or as several."""
    return {"inputCol": source, "outputCol": target} if single else {"inputCols": [source], "outputCols": [target]}


def stages(known, drop_last=True, invalid="keep", assembled="keep", single=False):
    """A fitted indexer and encoder, and the assembler of what they write."""
    indexer = StringIndexer(**between("city", "i", single), handleInvalid=invalid).fit(known)
    encoder = OneHotEncoder(**between("i", "e", single), handleInvalid=invalid, dropLast=drop_last)
    columns = ["visits", "e", "pages"]
    assembler = VectorAssembler(inputCols=columns, outputCol="features", handleInvalid=assembled)
    return [indexer, encoder.fit(indexer.transform(known)), assembler]


@pytest.mark.parametrize("setting", [{}, {"drop_last": False}, {"single": True}])
def test_slots_are_those_that_the_assembler_makes(known, leads, setting):
    *before, assembler = stages(known, **setting)
    for stage in before:
        leads = stage.transform(leads)
    rows = assembler.transform(leads).select(
        slots(assembler, before, leads.schema).array.alias("ours"), vector_to_array("features").alias("plain")
    )
    assert [str(row.ours) for row in rows.collect()] == [str(row.plain) for row in rows.collect()]


@pytest.mark.parametrize("setting", [{"invalid": "error"}, {"assembled": "error"}])
def test_stages_that_refuse_values_are_left_to_spark(known, setting):
    *before, assembler = stages(known, **setting)
    schema = assembler.transform(before[1].transform(before[0].transform(known))).schema
    assert slots(assembler, before, schema) is None


def test_a_vector_of_unknown_origin_is_left_to_spark(known):
    *before, assembler = stages(known)
    schema = assembler.transform(before[1].transform(before[0].transform(known))).schema
    assert slots(assembler, before[:1], schema) is None
