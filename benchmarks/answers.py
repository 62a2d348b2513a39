"""A fast wrong answer is no answer: what a benchmark holds its scores against, outside of what it times."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.compiled import VERSION
from features.contract import Contract
from features.errors import LeadScoringError
from serving.compiled.in_spark import scored_by_compiled
from serving.compiled.local import BATCH_ROWS
from serving.compiled.scorer import CompiledScorer
from serving.scoring import scored

CHECKED, LARGEST_DIFFERENCE, LEAST_CORRELATION = 20_000, 1e-6, 0.9
ID, SCORE = "id", "score"


class WrongAnswers(LeadScoringError):
    """A way that was measured scores otherwise than its peer, or does not score every lead once."""


def check_scores(way: str, found: Sequence[float], wanted: Sequence[float]) -> None:
    """Raise WrongAnswers unless there are as many, and each is the other's to LARGEST_DIFFERENCE."""
    if len(found) != len(wanted):
        raise WrongAnswers(f"{way}: {len(found):,} scores of {len(wanted):,} leads; its times count for nothing.")
    apart = np.abs(np.asarray(found, float) - np.asarray(wanted, float)).max(initial=0.0)
    if not apart <= LARGEST_DIFFERENCE:
        raise WrongAnswers(
            f"{way}: scores lie up to {apart:.2g} from those they must be, more than {LARGEST_DIFFERENCE}; "
            "its times count for nothing."
        )


def check_alike(way: str, found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> None:
    """Raise WrongAnswers where the scores of a peer, another model of the same leads, do not go up with ours."""
    alike = np.corrcoef(found, wanted)[0, 1]
    if not alike >= LEAST_CORRELATION:
        raise WrongAnswers(
            f"{way}: its scores and ours correlate by {alike:.3f}, less than {LEAST_CORRELATION}; it is no peer."
        )


def check_in_spark(leads: DataFrame, model: PipelineModel, scorer: CompiledScorer, contract: Contract) -> None:
    """Raise WrongAnswers unless the Spark pipeline and the compiled scorer give each of CHECKED leads one score."""
    kept = leads.limit(CHECKED).cache()
    sides = [
        plan.select(contract.id.name, F.col("probability").alias(name))
        for name, plan in (
            ("spark", scored(kept, model, VERSION, contract)),
            ("compiled", scored_by_compiled(kept, scorer, VERSION, contract)),
        )
    ]
    both = sides[0].join(sides[1], contract.id.name).select("spark", "compiled").dropna().toArrow()
    wanted = kept.count()
    kept.unpersist()
    if both.num_rows != wanted:
        raise WrongAnswers(f"Spark and compiled: {both.num_rows:,} of {wanted:,} leads have a score of both.")
    check_scores("compiled, in Spark", both["compiled"].to_numpy(), both["spark"].to_numpy())


def check_written(way: str, output: Path, source: Path, scorer: CompiledScorer, contract: Contract) -> None:
    """Raise WrongAnswers unless every lead of `source` is in `output` once, with the compiled scorer's probability."""
    both = paired(way, written(output, contract, "probability"), scored_leads(source, scorer, contract))
    check_scores(way, both["found"].to_numpy(), both["wanted"].to_numpy())


def check_same_sum(way: str, plan: DataFrame, output: Path) -> None:
    """Raise WrongAnswers unless a plan gives as many scores as `output` holds, of the same sum."""
    held = ds.dataset(output, exclude_invalid_files=True).to_table(["probability"])["probability"].to_numpy()
    count, total = plan.agg(F.count("probability"), F.sum("probability")).collect()[0]
    if count != len(held) or not abs(total - held.sum()) <= LARGEST_DIFFERENCE * max(1, len(held)):
        raise WrongAnswers(
            f"{way}: {count:,} scores of {len(held):,} leads, and their sum is {total}, not {held.sum()}; "
            "its times count for nothing."
        )


def check_peer(way: str, peer: DataFrame, ours: DataFrame, contract: Contract) -> None:
    """Raise WrongAnswers unless a peer scores every lead, and its scores go up and down with ours."""
    sides = [
        plan.select(contract.id.name, F.col("probability").alias(n)) for n, plan in (("peer", peer), ("ours", ours))
    ]
    joined = sides[1].join(sides[0], contract.id.name, "left")
    lacking, alike = joined.agg(F.count_if(F.col("peer").isNull()), F.corr("peer", "ours")).collect()[0]
    if lacking:
        raise WrongAnswers(f"{way}: {lacking:,} leads have no score; its times count for nothing.")
    if alike is None or not alike >= LEAST_CORRELATION:
        raise WrongAnswers(f"{way}: its scores and ours correlate by {alike}, less than {LEAST_CORRELATION}.")


def scored_leads(source: Path, scorer: CompiledScorer, contract: Contract) -> pa.Table:
    """ID and SCORE, the compiled scorer's probability, of every lead of a folder."""
    columns = [contract.id.name, *scorer.description.fields]
    found = []
    for batch in ds.dataset(source).to_batches(columns=columns, batch_size=BATCH_ROWS):
        scores = pa.array(scorer.score(batch).probability)
        found.append(pa.table({ID: batch[contract.id.name], SCORE: scores}))
    return pa.concat_tables(found)


def written(output: Path, contract: Contract, score: str) -> pa.Table:
    """ID and SCORE of every row of a folder of scores, which the column `score` holds."""
    table = ds.dataset(output, exclude_invalid_files=True).to_table([contract.id.name, score])
    return table.rename_columns([ID, SCORE])


def paired(way: str, found: pa.Table, wanted: pa.Table) -> pa.Table:
    """The scores `found` and `wanted` of each lead; WrongAnswers unless both hold every lead once."""
    sides = (found.rename_columns([ID, "found"]), wanted.rename_columns([ID, "wanted"]))
    both = sides[0].join(sides[1], ID, join_type="full outer")
    whole = both.num_rows - max(both["found"].null_count, both["wanted"].null_count)
    if not whole == both.num_rows == found.num_rows == wanted.num_rows:
        raise WrongAnswers(
            f"{way}: {found.num_rows:,} scores of {wanted.num_rows:,} leads, of which {whole:,} pair; "
            "its times count for nothing."
        )
    return both


def check_events(events: Mapping[str, tuple[int, int]]) -> None:
    """Raise WrongAnswers where a load lost an event or scored one twice; `events`: (lost, doubled) by load."""
    wrong = {load: counts for load, counts in events.items() if any(counts)}
    if wrong:
        said = "; ".join(f"{load}: {lost:,} lost, {doubled:,} scored twice" for load, (lost, doubled) in wrong.items())
        raise WrongAnswers(f"{said}; these times count for nothing.")
