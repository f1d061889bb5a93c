"""The same seed gives the same weights on one machine."""

import keras


def make_deterministic(seed: int) -> None:
    """Seeds Python, NumPy and the backend, and has TensorFlow use deterministic kernels."""
    keras.utils.set_random_seed(seed)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
