"""The comparison of two models as a page: differences, curves, grades that leads change, and the leads themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from matplotlib.figure import Figure

from evaluation.comparison import FIRST, SECOND, ChangedLead, Comparison, Reason, Seen
from evaluation.document import Block, Document, Mark, Picture, Section, Table, Text, said, span
from evaluation.overlay_plots import MEASURES
from features.grading import GRADES

UNFAIR = (
    "A model scores leads that it has learned from better than new ones, so the measures of such a model are too good, "
    "and the differences lean to its side. Train both on the same prepared data (`mlflow run . -e train`) to compare "
    "them fairly."
)


def comparison_document(found: Comparison, names: tuple[str, str], figures: Mapping[str, Figure]) -> Document:
    """The page; `names` of first and second."""
    change = found.differences.metrics["auc_roc"]
    sure = (
        "surely better" if change.low > 0 else "surely worse" if change.high < 0 else "neither surely better nor worse"
    )
    verdict = f"The second orders leads {sure}: ROC AUC {_signed(found, 'auc_roc')}."
    subject = f"First: {names[0]}. Second: {names[1]}. {found.leads:,} of {found.total:,} test leads, scored by both."
    seen = [Text(_learned(s, found.total), "bad") for s in found.seen]
    sections = (
        *([Section("Warning: a model may know some of the test leads", (*seen, Text(UNFAIR)))] if seen else []),
        Section("Differences", (_differences(found), *_pictures(figures, "differences"))),
        Section("Curves", tuple(_pictures(figures, "roc", "calibration", "gains"))),
        Section("Grades", _moves(found)),
        Section("Changed leads", _changed(found)),
    )
    mark: Mark = "good" if change.low > 0 else "bad" if change.high < 0 else ""
    return Document("Comparison of two models", subject, sections, verdict, mark)


def _learned(seen: Seen, total: int) -> str:
    trained = "how many is not on record" if seen.train_leads is None else f"{seen.train_leads:,} of them"
    return (
        f"By its record {seen.model} was trained on other leads than those prepared beside these test leads "
        f"({trained}): up to {seen.test_leads:,} of the {total:,} test leads may be among those that it learned from."
    )


def _differences(found: Comparison) -> Table:
    rows = [
        (words, *(str(found.sides[side].metrics[name]) for side in (FIRST, SECOND)), _signed(found, name))
        for name, words in MEASURES.items()
    ]
    first, second = found.errors[FIRST], found.errors[SECOND]
    rows.append(("calibration error", f"{first:.4f}", f"{second:.4f}", f"{second - first:+.4f}"))
    return Table(("measure", "first", "second", "second less first"), tuple(rows), numbers=(1, 2, 3))


def _signed(found: Comparison, name: str) -> str:
    return span(asdict(found.differences.metrics[name]), 4, "+")


def _pictures(figures: Mapping[str, Figure], *names: str) -> list[Picture]:
    return [Picture.of(name, figures[name]) for name in names if name in figures]


def _moves(found: Comparison) -> tuple[Block, ...]:
    if found.crossed is None:
        return (Text("One of the models gives no grades, so no lead crosses one."),)
    rows = tuple((f"{a} by the first", *(said(found.moves.get((a, b), 0)) for b in GRADES)) for a in GRADES)
    total = sum(found.moves.values())
    told = f"{found.crossed:,} of {total:,} leads ({found.crossed / total:.1%}) get another grade from the second."
    return (Text(told), Table(("leads", *(f"{b} by the second" for b in GRADES)), rows, numbers=(1, 2, 3, 4)))


def _changed(found: Comparison) -> tuple[Block, ...]:
    if not found.changed:
        return (Text("Both models give every lead the same probability."),)
    explained = [side for side in (FIRST, SECOND) if any(_reasons(c, side) is not None for c in found.changed)]
    rows = []
    for c in found.changed:
        graded = f"{c.first_grade or '-'} to {c.second_grade or '-'}"
        row = (c.lead, f"{c.first * 100:.1f}", f"{c.second * 100:.1f}", f"{c.change * 100:+.1f}", graded)
        rows.append((*row, "yes" if c.label else "no", *(_in_words(_reasons(c, side)) for side in explained)))
    head: tuple[str, ...] = ("lead", "first score", "second score", "change", "grade", "converted")
    note = "Scores in points of 100. Leads that cross a grade come first, then the largest changes."
    if not explained:
        note += " Neither model has a compiled scorer, which would tell reasons."
    elif len(explained) == 1:
        silent = SECOND if explained == [FIRST] else FIRST
        note += f" The {silent} model has no compiled scorer, which would tell its reasons."
    head = (*head, *(f"reasons of the {side}" for side in explained))
    return (Text(note), Table(head, tuple(rows), numbers=(1, 2, 3)))


def _reasons(lead: ChangedLead, side: str) -> Sequence[Reason] | None:
    return lead.first_reasons if side == FIRST else lead.second_reasons


def _in_words(reasons: Sequence[Reason] | None) -> str:
    return "; ".join(str(reason["text"]) for reason in reasons or ()) or "-"
