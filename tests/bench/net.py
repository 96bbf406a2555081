"""The digits network of packaging/demo/data in numpy: forward, backward, and the optimizers that real training uses."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

F32 = np.float32


# ---- data ----

def digits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images as [n, 8, 8] float32 in 0 … 1, and their labels."""
    data = path.read_bytes()
    count, height, width = struct.unpack_from("<III", data, 4)
    pixels = np.frombuffer(data, np.uint8, count * height * width, 16).reshape(count, height, width)
    return (pixels / 16).astype(F32), np.frombuffer(data, np.uint8, count, 16 + pixels.size).astype(np.int64)


def enlarge(images: np.ndarray) -> np.ndarray:
    """Bilinear, 8x8 to [n, 1, 16, 16], as the models were trained."""
    place = np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7)
    low = np.minimum(place.astype(int), 6)
    weight = np.zeros((16, 8), F32)
    weight[np.arange(16), low] = 1 - (place - low)
    weight[np.arange(16), low + 1] += place - low
    return np.einsum("ya,nab,xb->nyx", weight, images, weight, optimize=True).astype(F32)[:, None]


def drifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rolled by a pixel, other gain, noise: the world after the camera was knocked."""
    out = np.empty_like(images)
    for i, image in enumerate(images):
        rolled = np.roll(image, tuple(rng.integers(-1, 2, 2)), (0, 1))
        out[i] = rolled * rng.uniform(0.8, 1.2) + rng.normal(0, 0.05, image.shape)
    return out


# ---- layers: each gives its output, and a function from the output's gradient to the input's ----

def conv(x, p, name, grads):
    w, n, height, width = p[name + ".weight"], *x.shape[:1], *x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))  # n c y x 3 3
    cols = np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(n * height * width, -1)
    flat = w.reshape(w.shape[0], -1)
    y = (cols @ flat.T + p[name + ".bias"]).reshape(n, height, width, -1).transpose(0, 3, 1, 2)

    def back(g, need_input=True):
        g2 = np.ascontiguousarray(g.transpose(0, 2, 3, 1)).reshape(n * height * width, -1)
        grads[name + ".weight"] = (g2.T @ cols).reshape(w.shape)
        grads[name + ".bias"] = g2.sum(0)
        if not need_input:
            return None
        spread = (g2 @ flat).reshape(n, height, width, w.shape[1], 3, 3)
        out = np.zeros_like(padded)
        for i in range(3):
            for j in range(3):
                out[:, :, i:i + height, j:j + width] += spread[:, :, :, :, i, j].transpose(0, 3, 1, 2)
        return out[:, :, 1:-1, 1:-1]

    return y, back


def dense(x, p, name, grads):
    w = p[name + ".weight"]

    def back(g):
        grads[name + ".weight"] = g.T @ x
        grads[name + ".bias"] = g.sum(0)
        return g @ w

    return x @ w.T + p[name + ".bias"], back


def relu(x):
    live = x > 0
    return x * live, lambda g: g * live


def pool(x):
    n, c, height, width = x.shape
    tiles = x.reshape(n, c, height // 2, 2, width // 2, 2)
    y = tiles.max((3, 5))
    hit = tiles == y[:, :, :, None, :, None]
    return y, lambda g: (hit * g[:, :, :, None, :, None]).reshape(x.shape)


def forward(p: dict, x: np.ndarray, grads: dict):
    """Logits, and the way back."""
    steps = []

    def do(result):
        steps.append(result[1])
        return result[0]

    x = do(relu(do(conv(x, p, "c1", grads))))
    x = do(pool(do(relu(do(conv(x, p, "c2", grads))))))
    x = do(relu(do(conv(x, p, "c3", grads))))
    x = do(pool(do(relu(do(conv(x, p, "c4", grads))))))
    shape = x.shape
    x = do(relu(do(dense(x.reshape(shape[0], -1), p, "f1", grads))))
    x = do(dense(x, p, "f2", grads))

    def back(g):
        for i, step in reversed(list(enumerate(steps))):
            if i == 9:  # the last pool: what was flattened gets its shape again
                g = g.reshape(shape)
            g = step(g, False) if i == 0 else step(g)

    return x, back


def loss_gradient(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of the cross-entropy of the softmax, averaged over the batch."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    g = e / e.sum(1, keepdims=True)
    g[np.arange(len(labels)), labels] -= 1
    return (g / len(labels)).astype(F32)


def accuracy(p: dict, x: np.ndarray, labels: np.ndarray) -> float:
    return float((forward(p, x, {})[0].argmax(1) == labels).mean())


# ---- training ----

class Adam:
    """With decay > 0: AdamW. Its arithmetic is float32 throughout, in the order of the usual frameworks."""

    def __init__(self, rate: float, decay: float = 0.0):
        self.rate, self.decay, self.count, self.m, self.v = rate, decay, 0, {}, {}

    def step(self, p: dict, grads: dict) -> None:
        self.count += 1
        c1, c2 = 1 - 0.9 ** self.count, 1 - 0.999 ** self.count
        for name, g in grads.items():
            g = g.astype(F32)
            m, v = self.m.setdefault(name, np.zeros_like(g)), self.v.setdefault(name, np.zeros_like(g))
            m *= F32(0.9)
            m += F32(0.1) * g
            v *= F32(0.999)
            v += F32(0.001) * g * g
            if self.decay > 0:
                p[name] = p[name] * F32(1 - self.rate * self.decay)
            p[name] = p[name] - F32(self.rate / c1) * (m / (np.sqrt(v) / F32(c2 ** 0.5) + F32(1e-8)))


class Momentum:
    def __init__(self, rate: float):
        self.rate, self.m = rate, {}

    def step(self, p: dict, grads: dict) -> None:
        for name, g in grads.items():
            self.m[name] = F32(0.9) * self.m.get(name, F32(0)) + g.astype(F32)
            p[name] = p[name] - F32(self.rate) * self.m[name]


def train(p: dict, images: np.ndarray, labels: np.ndarray, optimizer, steps: int, seed: int, drift: bool = True, adapt=None) -> dict:
    """Trains a copy. adapt: turns gradients of the weights into those of what is trained in their stead (LoRA), and p back."""
    p, rng = dict(p), np.random.default_rng(seed)
    for _ in range(steps):
        pick = rng.integers(0, len(images), 64)
        x = enlarge(drifted(images[pick], rng) if drift else images[pick])
        grads: dict = {}
        logits, back = forward(p, x, grads)
        back(loss_gradient(logits, labels[pick]))
        if adapt is None:
            optimizer.step(p, grads)
        else:
            p = adapt(p, grads, optimizer)
    return p


def fresh(shapes: dict, seed: int) -> dict:
    """Weights to train from scratch: uniform, as frameworks start them."""
    rng, p = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        weight = shapes[name.replace(".bias", ".weight")]
        bound = 1 / np.sqrt(np.prod(weight[1:]))
        p[name] = rng.uniform(-bound, bound, shape).astype(F32)
    return p


class Lora:
    """Trains W + B·A with small A and B in the place of W; biases and the rest stay as they are."""

    def __init__(self, p: dict, names: list[str], rank: int, seed: int):
        rng = np.random.default_rng(seed)
        self.base, self.small = dict(p), {}
        for name in names:
            rows, cols = p[name].shape[0], p[name][0].size
            self.small[name + ".a"] = (rng.standard_normal((rank, cols)) / np.sqrt(cols)).astype(F32)
            self.small[name + ".b"] = np.zeros((rows, rank), F32)
        self.names = names

    def merge(self) -> dict:
        out = dict(self.base)
        for name in self.names:
            out[name] = out[name] + (self.small[name + ".b"] @ self.small[name + ".a"]).reshape(out[name].shape)
        return out

    def __call__(self, _p: dict, grads: dict, optimizer) -> dict:
        inner = {}
        for name in self.names:
            g = grads[name].reshape(grads[name].shape[0], -1)
            inner[name + ".a"] = self.small[name + ".b"].T @ g
            inner[name + ".b"] = g @ self.small[name + ".a"].T
        optimizer.step(self.small, inner)
        return self.merge()
