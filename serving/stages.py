"""What the stages of a fitted pipeline are, and which columns they read and write."""

from typing import Literal

from pyspark.ml import PipelineModel, Transformer


def flat(model: PipelineModel) -> list[Transformer]:
    """The stages of a pipeline in their order, those of pipelines within it among them."""
    nested = [flat(s) if isinstance(s, PipelineModel) else [s] for s in model.stages]
    return [stage for stages in nested for stage in stages]


def columns_of(stage: Transformer, side: Literal["input", "output"]) -> list[str]:
    """The columns that a stage for one column or for several reads, or those that it writes."""
    many, one = f"{side}Cols", f"{side}Col"
    return list(stage.getOrDefault(many)) if stage.isSet(many) else [stage.getOrDefault(one)]
