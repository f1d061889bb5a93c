import keras
import numpy as np

from tbscreen_training.network import build_head, build_network, set_to_mean


def test_a_wide_head_answers_the_mean_of_its_parts() -> None:
    parts = [build_head(12, outputs=3, units=7, dropout=0.5, seed=seed) for seed in range(3)]
    for part in parts:
        part.set_weights([np.asarray(w) + 0.1 for w in part.get_weights()])
    wide = build_head(12, outputs=3, units=21, dropout=0.5, seed=9)
    set_to_mean(wide, parts)
    features = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)
    expected = np.mean([np.asarray(part(features)) for part in parts], axis=0)
    np.testing.assert_allclose(np.asarray(wide(features)), expected, atol=1e-5)
    assert not np.allclose(np.asarray(parts[0](features)), np.asarray(parts[1](features)))


def test_a_base_of_one_channel_reads_grey_as_three_would() -> None:
    network = build_network(classes=2, weights="none", dropout=0.0, seed=1, rounds=False)
    three = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=(256, 256, 3)
    )
    top = keras.Model(three.input, three.get_layer("mixed5").output)
    keras.utils.set_random_seed(1)
    first, *rest = network.base.get_weights()
    # Any three kernels with this sum.
    shares = np.array([0.5, -0.25, 0.75], np.float32)[:, np.newaxis]
    top.set_weights([first * shares, *rest])
    grey = np.random.default_rng(1).uniform(-1, 1, (1, 256, 256, 1)).astype(np.float32)
    np.testing.assert_allclose(
        np.asarray(network.base(grey)), np.asarray(top(np.repeat(grey, 3, -1))), atol=1e-4
    )
