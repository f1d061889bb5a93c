"""Quantises an exported float32 model, operation by operation.

What finds the lungs and cuts them out stays float32: a hundredth of its size off, and every later
figure moves. Only InceptionV3's convolutions, where the time goes, are rounded (docs/adr/0015).
"""

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import (
    ComputePrecision,
    OpQuantizationConfig,
    QuantGranularity,
    TensorDataType,
    TensorQuantizationConfig,
    TFLOperationName,
)
from numpy.typing import NDArray

from tbscreen_training.config import Quantisation
from tbscreen_training.dynamic_range import LEAST_WEIGHTS
from tbscreen_training.served import INPUT_NAME

BASE: Final = "inception_v3"
"""Name of the base in the graph: the only part that is quantised."""

_SIGNATURE: Final = "serving_default"

Tensors = Callable[[], Iterator[NDArray[np.uint8]]]


def quantise(model: bytes, quantisation: Quantisation, representative: Tensors) -> bytes:
    """Returns a float32 TensorFlow Lite model with the base's convolutions quantised.

    Args:
        model: as TensorFlow's converter gives it.
        quantisation: dynamic (int8 weights, inputs rounded to int8 image by image), float16
            (weights), int8 (inputs rounded with ranges fixed here) or float32 (as it is).
        representative: gives uint8 (384, 384, 1) tensors, from which int8 learns its ranges.
    """
    if quantisation == "float32":
        return model
    tool = quantizer.Quantizer(model)
    algorithm = AlgorithmName.MIN_MAX_UNIFORM_QUANT
    if quantisation == "float16":
        algorithm = AlgorithmName.FLOAT_CASTING
    # With fixed ranges, what lies between the convolutions must be int8 too, or costs conversions.
    operations = TFLOperationName.CONV_2D
    if quantisation == "int8":
        operations = TFLOperationName.ALL_SUPPORTED
    tool.update_quantization_recipe(
        f".*{BASE}.*", operations, _configuration(quantisation), algorithm
    )
    ranges = None
    with warnings.catch_warnings():
        # That it keeps every tensor in memory is meant for this very purpose.
        warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors", UserWarning)
        if tool.need_calibration:
            inputs = [{INPUT_NAME: tensor[np.newaxis]} for tensor in representative()]
            ranges = tool.calibrate({_SIGNATURE: inputs}, num_threads=os.cpu_count() or 1)
        result = tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _configuration(quantisation: Quantisation) -> OpQuantizationConfig:
    if quantisation == "float16":
        half = TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT)
        return OpQuantizationConfig(
            weight_tensor_config=half,
            compute_precision=ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
    options: dict[str, Any] = {}
    if quantisation == "int8":
        options["activation_tensor_config"] = TensorQuantizationConfig(num_bits=8, symmetric=False)
    return OpQuantizationConfig(
        weight_tensor_config=TensorQuantizationConfig(
            num_bits=8, symmetric=True, granularity=QuantGranularity.CHANNELWISE
        ),
        compute_precision=ComputePrecision.INTEGER,
        explicit_dequantize=False,
        min_weight_elements=0 if quantisation == "int8" else LEAST_WEIGHTS,
        **options,
    )
