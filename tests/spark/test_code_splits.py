"""A forest whose splits on codes compare numbers, beside the one it was made of."""

import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.feature import OneHotEncoder, StringIndexer, VectorAssembler

from serving.code_splits import with_compared_codes
from serving.scoring import transformed

WORDS = ["Pune", "Mumbai", "Delhi", "Agra"]
LIKELY = {"Pune", "Delhi"}
CODES = [1, 2, 3, 4, 5]  # after the slot of the number
CATEGORICAL = "org.apache.spark.ml.tree.CategoricalSplit"


@pytest.fixture(scope="module")
def leads(spark):
    """Words of which two convert and two do not, so that splits send 1 to the left of some nodes and 0 of others."""
    rows = [(WORDS[i % 4], float(i % 7), float((WORDS[i % 4] in LIKELY) ^ (i % 7 == 0))) for i in range(400)]
    return spark.createDataFrame(rows, "city string, visits double, label double")


@pytest.fixture(scope="module")
def stages(leads):
    indexer = StringIndexer(inputCol="city", outputCol="i", handleInvalid="keep").fit(leads)
    encoder = OneHotEncoder(inputCol="i", outputCol="e", handleInvalid="keep").fit(indexer.transform(leads))
    return [indexer, encoder, VectorAssembler(inputCols=["visits", "e"], outputCol="features", handleInvalid="keep")]


@pytest.fixture(scope="module")
def assembled(leads, stages):
    for stage in stages:
        leads = stage.transform(leads)
    return leads.cache()


@pytest.fixture(scope="module")
def forest(assembled):
    return RandomForestClassifier(labelCol="label", numTrees=20, maxDepth=5, seed=3).fit(assembled)


def nodes(forest):
    """The splits and the leaves of all trees, as Java has them."""

    def below(node):
        if node.getClass().getSimpleName() == "InternalNode":
            yield node.split()
            yield from below(node.leftChild())
            yield from below(node.rightChild())
        else:
            yield node

    return [found for tree in forest._java_obj.trees() for found in below(tree.rootNode())]


def categorical(forest):
    return [found for found in nodes(forest) if found.getClass().getName() == CATEGORICAL]


def test_a_code_is_compared_and_every_vote_stays(spark, assembled, forest):
    to_the_left = {tuple(split.leftCategories()) for split in categorical(forest)}
    assert to_the_left == {(0.0,), (1.0,)}
    ours = with_compared_codes(spark, forest, CODES)
    assert not categorical(ours)
    votes = [[row.rawPrediction for row in f.transform(assembled).collect()] for f in (forest, ours)]
    assert votes[0] == votes[1]


def test_only_slots_that_are_codes_are_compared(spark, forest):
    found = {split.featureIndex() for split in categorical(forest)}
    assert {1, 2} <= found
    assert {split.featureIndex() for split in categorical(with_compared_codes(spark, forest, [1]))} == found - {1}


def test_equal_splits_and_leaves_are_one_object(spark, forest):
    def told(node):
        of = node.getClass().getSimpleName()
        if of == "LeafNode":
            return (of, node.prediction(), node.impurity(), *node.impurityStats().stats())
        return (of, node.featureIndex(), node.threshold())

    ours = nodes(with_compared_codes(spark, forest, CODES))
    objects = {spark._jvm.java.lang.System.identityHashCode(node) for node in ours}
    assert len(objects) == len({told(node) for node in ours}) < len(ours)


def test_the_forest_that_was_given_stays_as_it_is(spark, forest):
    before = len(categorical(forest))
    with_compared_codes(spark, forest, CODES)
    assert len(categorical(forest)) == before > 0


def test_names_of_columns_go_with_the_forest(spark, assembled, forest):
    named = forest.copy().setProbabilityCol("chance")
    assert "chance" in with_compared_codes(spark, named, [1]).transform(assembled).columns


def test_a_pipeline_compares_the_codes_of_its_vector_and_not_its_numbers(leads, stages, assembled, forest, monkeypatch):
    given = []
    monkeypatch.setattr("serving.scoring.with_compared_codes", lambda spark, f, codes: given.append([*codes]) or f)
    transformed(PipelineModel([*stages, forest]), leads)
    assert given == [[*range(1, assembled.first().features.size)]]


def test_a_forest_that_writes_the_numbers_of_its_leaves_is_left_as_it_is(spark, forest):
    numbered = forest.copy().setLeafCol("leaves")
    assert with_compared_codes(spark, numbered, CODES) is numbered
