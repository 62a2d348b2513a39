"""The evaluation report of a run: every number and every picture that training left, on one page."""

from evaluation.document import Block, Document, Picture, Section, Table, Text, percent, said, span
from evaluation.model_card import headline, importance_table, leak_table, metric_table
from evaluation.model_facts import HEADLINE, ModelFacts
from evaluation.part_tables import grade_blocks, slice_blocks

# Which picture stands where; what no section names comes last, so that no plot of a run is left out.
PLACES = {
    "Order: which leads come first": ("roc", "precision_recall", "lift"),
    "Calibration: what a score promises": ("calibration",),
    "Decision at 0.5": ("confusion_matrix",),
    "Grades": ("grades",),
    "What the model goes by": ("importance", "dependence", "interactions"),
    "Leaks": ("leakage", "honest"),
}


def evaluation_page(facts: ModelFacts) -> Document:
    """The whole report; a section whose picture and numbers are both missing says so."""
    sections = [Section("Metrics", (metric_table(facts),))]
    left = {_name(path): path for path in sorted(facts.pictures)}
    for title, names in PLACES.items():
        blocks: list[Block] = [_picture(facts, left.pop(n)) for n in names if n in left]
        blocks += {"Grades": grade_blocks, "Leaks": _leaks, "What the model goes by": _fields}.get(title, lambda _: [])(
            facts
        )
        sections.append(Section(title, tuple(blocks) or (Text("Not on record.", "bad"),)))
    sliced = [_picture(facts, left.pop(n)) for n in sorted(left) if n.startswith("slices")]
    sections.append(Section("Slices", (*slice_blocks(facts, 1000), *sliced)))
    if left:
        sections.append(Section("More", tuple(_picture(facts, path) for path in left.values())))
    if facts.missing:
        sections.append(Section("Not on record", (Text(", ".join(facts.missing) + ".", "bad"),)))
    return Document(f"Evaluation: {facts.called}", f"run {facts.run_id}", tuple(sections), headline(facts))


def _leaks(facts: ModelFacts) -> list[Block]:
    report = facts.report("leakage.json")
    blocks = [leak_table(facts), *_honest(facts)]
    if report:
        rows = tuple(
            (f["name"], f["known_at"], said(f["auc"]), percent(f["filled"] / f["leads"] if f["leads"] else None))
            for f in sorted(report["fields"], key=lambda f: -f["auc"])
        )
        blocks.append(Table(("field", "known at", "AUC alone", "filled in"), rows, numbers=(2, 3)))
    return blocks


def _fields(facts: ModelFacts) -> list[Block]:
    table = importance_table(facts, 1000)
    return [table] if table else []


def _honest(facts: ModelFacts) -> list[Block]:
    """The model beside the same forest without the late fields; nothing where it has none."""
    report = facts.report("honest.json")
    if not report:
        return []
    found = [side["metrics"] for side in (*report["sides"].values(), report["honest_less_leaky"])]
    rows = tuple(
        (words, *(span(side[name]) for side in found[:2]), span(found[2][name], sign="+"))
        for name, words in HEADLINE.items()
        if all(name in side for side in found)
    )
    told = f"Known too late to score a new lead: {', '.join(report['late_fields'])}. All intervals are 95%."
    head = ("measure", *report["sides"], "honest less leaky")
    return [Text(told), Table(head, rows, numbers=(1, 2, 3))]


def _picture(facts: ModelFacts, path: str) -> Picture:
    return Picture(_name(path).replace("_", " "), facts.pictures[path], path)


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".png")
