"""From a saved Spark pipeline to a compiled model: encoder, trees, calibration and grades; no Spark and no JVM."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from features.contract import LeadField
from serving.compiled.description import Calibration, Compiled, Description, Grades
from serving.compiled.errors import CannotCompile
from serving.compiled.inputs import Columns, add_columns, vector_inputs, with_limits
from serving.compiled.saved_stages import SavedStage, read_stages
from serving.compiled.saved_trees import LINKS, read_trees


def compile_saved(folder: Path, fields: Sequence[LeadField] = ()) -> Compiled:
    """Compile a PipelineModel that Spark has saved (the folder `sparkml` of a logged model).

    `fields` of the contract add the limits that a live lead is held to. CannotCompile names the stage or setting
    that has no compiled form.
    """
    stages = read_stages(folder)
    at = next((i for i, s in enumerate(stages) if s.kind in LINKS), None)
    if at is None:
        found = ", ".join(s.kind for s in stages)
        raise CannotCompile(f"the pipeline has no forest (stages: {found}); compiled are {', '.join(LINKS)}.")
    columns: Columns = {}
    vector = stages[at].params["featuresCol"]
    assemblers = [s for s in stages[:at] if s.kind == "VectorAssembler"]
    for stage in stages[:at]:
        if stage not in assemblers:
            add_columns(stage, columns)
    if [s.params.get("outputCol") for s in assemblers] != [vector]:
        raise CannotCompile(f"the forest reads {vector}, which is not put together by exactly one VectorAssembler.")
    inputs = with_limits(vector_inputs(assemblers[0], columns), {f.name: f for f in fields})
    calibration, grades = _after(stages[at], stages[at + 1 :])
    description = Description(inputs=inputs, link=LINKS[stages[at].kind], calibration=calibration, grades=grades)
    return Compiled(description, read_trees(stages[at], inputs))


def _after(forest: SavedStage, stages: Sequence[SavedStage]) -> tuple[Calibration | None, Grades | None]:
    """Calibration and grades, from the stages behind the forest in their one order."""
    kinds = [s.kind for s in stages]
    if kinds not in ([], ["IsotonicRegressionModel"], ["IsotonicRegressionModel", "Bucketizer", "IndexToString"]):
        raise CannotCompile(
            f"the stages behind the forest are {', '.join(kinds)}; compiled are none, IsotonicRegressionModel, and "
            "IsotonicRegressionModel, Bucketizer, IndexToString."
        )
    if not stages:
        return None, None
    isotonic = stages[0]
    isotonic.demand("featuresCol", forest.params["probabilityCol"], "the forest's probability")
    isotonic.demand("featureIndex", 1, "the probability of label 1")
    row = isotonic.row()
    if not row["isotonic"]:
        raise CannotCompile(f"{isotonic.uid} falls where the probability rises; compiled scoring needs isotonic=true.")
    calibration = Calibration(boundaries=tuple(row["boundaries"]), predictions=tuple(row["predictions"]))
    return calibration, _grades(isotonic.params, stages[1:]) if stages[1:] else None


def _grades(isotonic: Mapping[str, object], stages: Sequence[SavedStage]) -> Grades:
    bucketizer, words = stages
    bucketizer.demand("inputCol", isotonic["predictionCol"], "the calibrated probability")
    words.demand("inputCol", bucketizer.params["outputCol"], "the number of the grade")
    splits, labels = tuple(bucketizer.params["splits"]), tuple(words.params.get("labels") or ())
    if len(labels) != len(splits) - 1:
        raise CannotCompile(f"{words.uid} has {len(labels)} labels for {len(splits) - 1} grades.")
    return Grades(splits=splits, labels=labels)
