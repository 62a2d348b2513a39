"""The script that MLflow keeps in a logged compiled model and runs to load it: no pickle is involved."""

from mlflow.models import set_model

from serving.compiled.pyfunc import CompiledModel

set_model(CompiledModel())
