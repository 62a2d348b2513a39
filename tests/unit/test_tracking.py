"""What MLflow is kept from doing while a model is logged."""

import mlflow.models.utils as utils
import pytest

from pipelines.tracking import _example_as_it_is


def test_an_example_is_not_served_while_a_model_is_logged_and_is_again_after_it():
    before = utils._validate_serving_input
    with _example_as_it_is():
        assert utils._validate_serving_input("models:/no-such-model/1", "{}") is None
    assert utils._validate_serving_input is before


def test_examples_are_served_again_after_a_model_that_could_not_be_logged():
    before = utils._validate_serving_input
    with pytest.raises(ZeroDivisionError), _example_as_it_is():
        raise ZeroDivisionError
    assert utils._validate_serving_input is before
