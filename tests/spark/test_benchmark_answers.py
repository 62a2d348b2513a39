"""benchmarks/answers.py: a compiled model that is not the pipeline's own is told."""

from pathlib import Path

import pytest
from pyspark.ml import PipelineModel

from benchmarks.answers import WrongAnswers, check_in_spark
from serving.compiled.compiling import compile_saved
from serving.compiled.scorer import CompiledScorer
from tests.leads import small_contract, small_leads
from tests.served import small_model


@pytest.fixture(scope="module")
def model(spark):
    return small_model(spark)


def compiled(model: PipelineModel, folder: Path) -> CompiledScorer:
    model.write().overwrite().save(str(folder))
    return CompiledScorer(compile_saved(folder, small_contract().features))


def test_the_pipelines_own_compiled_model_is_right(spark, model, tmp_path):
    check_in_spark(small_leads(spark), model, compiled(model, tmp_path), small_contract())


def test_another_compiled_model_is_told(spark, model, tmp_path):
    other = compiled(small_model(spark, trees=4), tmp_path)
    with pytest.raises(WrongAnswers, match="compiled, in Spark: scores lie up to"):
        check_in_spark(small_leads(spark), model, other, small_contract())
