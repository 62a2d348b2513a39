"""Tree-structured Parzen estimator search by hyperopt, one trial at a time, so that it resumes where it stopped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from hyperopt import JOB_STATE_DONE, STATUS_OK, Trials, fmin, hp, space_eval, tpe
from hyperopt.pyll import scope
from pydantic import BaseModel, Field, RootModel, ValidationError, model_validator

from evaluation.errors import EvaluationError
from features.stages import ForestParams


class BadSearchSpace(EvaluationError):
    """A search space names no parameter of the forest, or values outside a parameter's range."""


class Dimension(BaseModel, frozen=True, extra="forbid"):
    """One searched parameter: either `choices`, or `low`, `high` and `step`."""

    choices: tuple[int | float | str, ...] = Field((), description="values to choose from")
    low: float | None = Field(None, description="smallest value")
    high: float | None = Field(None, description="largest value")
    step: float = Field(1, gt=0, description="distance of two neighbouring values")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        ranged = self.low is not None and self.high is not None
        if bool(self.choices) == ranged or (ranged and not self.low < self.high):  # type: ignore[operator]
            raise ValueError("give either choices, or low below high (and a step)")
        return self

    def values(self) -> list[Any]:
        """The smallest and largest value, or all choices: what must lie within the parameter's range."""
        return list(self.choices) or [self._typed(self.low), self._typed(self.high)]

    def expression(self, name: str) -> Any:
        """The dimension as a hyperopt expression."""
        if self.choices:
            return hp.choice(name, list(self.choices))
        draw = hp.quniform(name, self.low, self.high, self.step)
        return scope.int(draw) if self.whole else draw

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return self.step >= 1

    def _typed(self, value: float | None) -> float | int | None:
        return int(value) if self.whole and value is not None else value


class SearchSpace(RootModel[dict[str, Dimension]], frozen=True):
    """Searched parameters by name; every name and value must suit `ForestParams`."""

    @model_validator(mode="after")
    def _suits_the_forest(self) -> Self:
        for name, dimension in self.root.items():
            for value in dimension.values():
                try:
                    ForestParams.model_validate({name: value})
                except ValidationError as error:
                    raise ValueError(f"{name}={value!r}: {error.errors()[0]['msg']}") from None
        return self

    def expression(self) -> dict[str, Any]:
        """The space as hyperopt takes it."""
        return {name: dimension.expression(name) for name, dimension in self.root.items()}


@dataclass(frozen=True)
class Trial:
    """A finished trial: its number, hyperopt's own values (indices for choices), the setting and its loss."""

    number: int
    values: Mapping[str, float]
    params: ForestParams
    loss: float


def search(
    space: SearchSpace,
    objective: Callable[[int, Mapping[str, float], ForestParams], float],
    *,
    max_evals: int,
    patience: int,
    seed: int,
    base: ForestParams,
    finished: Sequence[Trial] = (),
) -> list[Trial]:
    """Minimise `objective(number, values, params)`; all trials, those of `finished` first.

    Each trial draws from a generator of its own, seeded by (seed, number): a search that resumes with the
    trials it had finished goes on exactly as if it had not stopped. It ends after `max_evals` trials in all,
    or after `patience` trials without a lower loss (0: never).
    """
    expression, trials, done = space.expression(), _as_trials(finished), list(finished)
    while len(done) < max_evals and not _out_of_patience(done, patience):
        number = len(done)
        drawn: dict[str, Any] = {}

        def run(values: dict[str, Any], number: int = number, drawn: dict[str, Any] = drawn) -> dict[str, Any]:
            params = base.model_copy(update=_plain(values))
            raw = _plain_raw(trials.trials[-1]["misc"]["vals"])
            drawn.update(params=params, raw=raw, loss=objective(number, raw, params))
            return {"loss": drawn["loss"], "status": STATUS_OK}

        fmin(
            run,
            expression,
            algo=tpe.suggest,
            max_evals=number + 1,
            trials=trials,
            rstate=np.random.default_rng([seed, number]),
            show_progressbar=False,
            verbose=False,
        )
        done.append(Trial(number, drawn["raw"], drawn["params"], drawn["loss"]))
    return done


def restored(number: int, values: Mapping[str, float], loss: float, space: SearchSpace, base: ForestParams) -> Trial:
    """A finished trial from what was stored of it: hyperopt's own values and the loss."""
    params = base.model_copy(update=_plain(space_eval(space.expression(), dict(values))))
    return Trial(number, dict(values), params, loss)


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest loss; the earliest of equals."""
    return min(trials, key=lambda t: (t.loss, t.number))


def _out_of_patience(done: Sequence[Trial], patience: int) -> bool:
    return patience > 0 and len(done) > 0 and len(done) - 1 - best(done).number >= patience


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Python numbers instead of numpy's, decimals without the noise of their binary form."""
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in plain.items()}


def _plain_raw(values: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """hyperopt's own values as plain Python numbers, so that they survive JSON."""
    return {name: np.asarray(drawn[0]).item() for name, drawn in values.items() if len(drawn)}


def _as_trials(finished: Sequence[Trial]) -> Trials:
    trials = Trials()
    docs = [
        {
            "state": JOB_STATE_DONE,
            "tid": trial.number,
            "spec": None,
            "result": {"loss": trial.loss, "status": STATUS_OK},
            "misc": {
                "tid": trial.number,
                "cmd": ("domain_attachment", "FMinIter_Domain"),
                "workdir": None,
                "idxs": {name: [trial.number] for name in trial.values},
                "vals": {name: [value] for name, value in trial.values.items()},
            },
            "exp_key": None,
            "owner": None,
            "version": 0,
            "book_time": None,
            "refresh_time": None,
        }
        for trial in finished
    ]
    if docs:
        trials.insert_trial_docs(docs)
        trials.refresh()
    return trials
