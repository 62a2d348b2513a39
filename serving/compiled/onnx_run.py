"""ONNX Runtime on the CPU, with a set number of threads."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from serving.compiled.description import Floats

FOREST = "forest.onnx"


def open_session(model: bytes | Path, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU with a set number of threads; it may be used by several threads at once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def votes(session: Any, columns: Floats) -> Floats:
    """Sum of the trees' votes per lead."""
    return np.asarray(session.run(None, {"columns": columns})[0], np.float64).reshape(-1)
