"""Build the digits sample: `python -m hybrid_batch.data.digits.make_digits` writes images, class names and model to
`data/digits`.

The images are the 8x8 handwritten digits of the UCI repository (Alpaydin and Kaynak, 1998) as distributed with
scikit-learn. 360 of them are held out as PNG files; a model with skip connections is trained on the other 1,437. All
random choices are seeded: on one kind of processor the weights are identical to the byte. It takes about a minute on
one core.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from hybrid_batch.data.images.decode import Preprocessing, decode
from hybrid_batch.data.terminal.messages import print_line

DIGITS = Path(__file__).parent
PREPARATION = Preprocessing(height=8, width=8, colour="grey", scale="0-1")
HELD_OUT = 360
EPOCHS = 60
SEED = 0


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=DIGITS)
@click.option("--epochs", type=click.IntRange(min=1), default=EPOCHS, show_default=True, help="Passes over the digits.")
def main(folder: Path, epochs: int) -> None:
    """Write the images, the class names and the model of the sample to FOLDER."""
    pixels, digits, held_out = load_digits()
    write_images(folder, pixels, digits, held_out)
    (folder / "classes.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    kept = np.setdiff1d(np.arange(len(digits)), held_out)
    model = train(pixels[kept], digits[kept], epochs)
    model.save(folder / "digits.keras")
    print_line(f"accuracy on the {HELD_OUT} images held out: {accuracy(folder, model):.4f}")


def load_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all digits, uint8 (1797, 8, 8) with the 17 shades scaled to 0 to 255, their values, and the held-out
    indices."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    shades, digits = load(return_X_y=True)
    pixels = np.rint(shades.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    _, held_out = train_test_split(np.arange(len(digits)), test_size=HELD_OUT, stratify=digits, random_state=SEED)
    return pixels, digits, np.sort(held_out)


def write_images(folder: Path, pixels: np.ndarray, digits: np.ndarray, indices: np.ndarray) -> None:
    """Write each image to the folder of its digit, named for its index in scikit-learn's array."""
    for index in indices:
        path = folder / "images" / str(digits[index]) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).save(path, optimize=True)


def build_model() -> Any:  # noqa: ANN401 - keras has no types
    """Return a residual network from 8x8x1 pixels between 0 and 1 to 10 probabilities.

    Its bottleneck has 4x4x4 elements; at one byte each they are smaller than the PNG file."""
    from keras import Input, Model, layers

    def convolve(x: Any, name: str, filters: int, stride: int = 1, relu: bool = True) -> Any:  # noqa: ANN401
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x

    def block(x: Any, name: str, filters: int, stride: int = 1) -> Any:  # noqa: ANN401
        inside = convolve(x, f"{name}_a", filters, stride)
        inside = convolve(inside, f"{name}_b", filters, relu=False)
        if x.shape[-1] != filters:
            x = layers.Conv2D(filters, 1, stride, name=f"{name}_shortcut")(x)
        return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, inside]))

    image = Input((8, 8, 1), name="image")
    x = convolve(image, "stem", 12)
    x = block(x, "block_1", 12)
    x = block(x, "block_2", 32, stride=2)
    x = convolve(x, "squeeze", 4)
    x = block(x, "block_3", 32)
    x = block(x, "block_4", 32)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(16, "relu", name="narrow")(x)
    return Model(image, layers.Dense(10, "softmax", name="digit")(x), name="digits")


def train(pixels: np.ndarray, digits: np.ndarray, epochs: int = EPOCHS) -> Any:  # noqa: ANN401
    """Return a model trained on randomly rotated, shifted and scaled copies of the images."""
    import keras
    import tensorflow as tf

    # Sums split over threads round differently: with one thread the weights do not depend on the number of cores.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    model = build_model()
    trainer = keras.Sequential(
        [
            keras.layers.RandomTranslation(0.1, 0.1, fill_mode="constant", seed=SEED),
            keras.layers.RandomRotation(0.03, fill_mode="constant", seed=SEED),
            keras.layers.RandomZoom(0.1, fill_mode="constant", seed=SEED),
            model,
        ]
    )
    steps = epochs * -(-len(digits) // 32)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    trainer.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    trainer.fit(pixels[..., None] / np.float32(255), digits, batch_size=32, epochs=epochs, verbose=2)
    return model


def accuracy(folder: Path, model: Any) -> float:  # noqa: ANN401
    """Return the accuracy of the model on the images in `folder`, between 0 and 1."""
    paths = sorted(folder.glob("images/*/*.png"))
    inputs = np.stack([decode(path.read_bytes(), PREPARATION) for path in paths])
    answers = model.predict(inputs, verbose=0).argmax(axis=1)
    return float(np.mean(answers == [int(path.parent.name) for path in paths]))


if __name__ == "__main__":
    main()
