"""Draws chest phantoms: two dark lung fields, spine, ribs and heart on a grey body.

They are no radiographs and prove nothing about a model; they let every test run where no real
radiographs are at hand. A positive phantom has bright patches in an upper lung field.
"""

import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter


def draw_phantom(
    seed: int, *, positive: bool = False, size: tuple[int, int] = (1024, 1024)
) -> Image.Image:
    rng = random.Random(seed)
    side = 512
    image = Image.new("L", (side, side), 12)
    draw = ImageDraw.Draw(image)
    jitter = rng.uniform(-12, 12)
    draw.rounded_rectangle((30, 20, 482, 540), radius=120, fill=150)
    lungs = ((95 + jitter, 80, 235, 400), (277, 80, 417 + jitter, 400))
    for box in lungs:
        draw.ellipse(box, fill=50 + rng.randint(-8, 8))
    draw.rectangle((240, 0, 272, 512), fill=200)
    draw.ellipse((225, 235, 370 + jitter, 420), fill=185)
    for rib in range(8):
        top = 70 + rib * 42
        for left, right, start, end in ((70, 250, 180, 330), (262, 442, 210, 360)):
            draw.arc((left, top, right, top + 90), start, end, fill=135, width=7)
    if positive:
        for _ in range(rng.randint(3, 6)):
            box = lungs[rng.randint(0, 1)]
            x, y = rng.uniform(box[0] + 30, box[2] - 45), rng.uniform(110, 220)
            radius = rng.uniform(9, 24)
            draw.ellipse((x, y, x + radius, y + radius), fill=rng.randint(180, 225))
    image = image.filter(ImageFilter.GaussianBlur(4))
    noise = Image.frombytes("L", (side, side), rng.randbytes(side * side))
    image = ImageChops.add(image, noise.point(lambda level: level // 16), offset=-8)
    return image.resize(size, Image.Resampling.BICUBIC)
