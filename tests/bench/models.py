"""Makes the models that the bench compares deltas on, once, and keeps them. Which are compared is said in pairs.py.

The digits network is trained for real, from the model of packaging/demo/data on the images there. A network of the size
and shapes of ResNet-18 cannot be trained in the time: its weights are noise with the spectra that trained layers have, and
its updates are steps of Adam on such noise. Seeds are fixed: a machine makes the same files every time, but another
processor may round the training's sums otherwise."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # sums in one order, before numpy is loaded
import numpy as np  # noqa: E402

import net  # noqa: E402
from containers import Onnx, onnx_read, onnx_replace, safetensors_write  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "packaging/demo/data"
F32 = np.float32
Weights = dict[str, np.ndarray]


class Shelf:
    """Where made files are kept. What they were made by is part of the folder's name, so nothing stale is used."""

    def __init__(self, folder: Path, build: Path):
        recipe = b"".join((Path(__file__).parent / name).read_bytes() for name in ("../protobuf.py", "containers.py", "models.py", "net.py"))
        self.folder = folder / hashlib.sha256(recipe).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.build = build

    def file(self, name: str, make: Callable[[Path], None]) -> Path:
        path, half = self.folder / name, self.folder / f"half-{name}"
        if not path.exists():
            make(half)
            half.rename(path)
        return path

    def weights(self, name: str, make: Callable[[], Weights]) -> Weights:
        def save(path):
            with path.open("wb") as file:
                np.savez(file, **make())

        with np.load(self.file(f"{name}.npz", save)) as kept:
            return {key: kept[key] for key in kept.files}


# ---- the digits network ----

SHIPPED = DATA / "cnn_v1.onnx"


def cnn_v1(_shelf) -> Weights:
    return onnx_read(SHIPPED.read_bytes())


def cnn_trained(name: str, make: Callable[[Weights, np.ndarray, np.ndarray], Weights]) -> Callable[[Shelf], Weights]:
    return lambda shelf: shelf.weights(name, lambda: make(cnn_v1(shelf), *net.digits(DATA / "digits_test_u8.bin")))


def head_only(p, images, labels):
    fresh = net.fresh({k: v.shape for k, v in p.items()}, 11)
    start = {**p, "f2.weight": fresh["f2.weight"], "f2.bias": fresh["f2.bias"]}
    adam = net.Adam(1e-3)

    def adapt(q, grads, _optimizer):
        q = dict(q)
        adam.step(q, {n: grads[n] for n in ("f2.weight", "f2.bias")})
        return q

    return net.train(start, images, labels, adam, 40, 12, adapt=adapt)


def lora(p, images, labels):
    adapter = net.Lora(p, ["c2.weight", "c3.weight", "c4.weight", "f1.weight", "f2.weight"], 4, 13)
    return net.train(p, images, labels, net.Adam(1e-3), 60, 14, adapt=adapter)


def on_grid(old: Weights, new: Weights, finer: float) -> Weights:
    """The update, rounded to a power of two at about its own size (docs/design/grid-publishing.md)."""
    out = {}
    for name, a in old.items():
        update = new[name].astype(np.float64) - a
        live = update[update != 0]
        if live.size == 0:
            out[name] = new[name]
            continue
        g = 2.0 ** np.floor(np.log2(np.sqrt((live ** 2).mean()))) / finer / (16 if a.size < 2000 else 1)
        out[name] = (a.astype(np.float64) + g * np.rint(update / g)).astype(F32)
    return out


cnn_short = cnn_trained("cnn-short", lambda p, x, y: net.train(p, x, y, net.Adam(1e-5), 60, 1))
cnn_adamw = cnn_trained("cnn-adamw", lambda p, x, y: net.train(p, x, y, net.Adam(2e-5, decay=0.05), 60, 2))
cnn_sgd = cnn_trained("cnn-sgd", lambda p, x, y: net.train(p, x, y, net.Momentum(1e-3), 60, 3))
cnn_head = cnn_trained("cnn-head", head_only)
cnn_lora = cnn_trained("cnn-lora", lora)
cnn_scratch = cnn_trained("cnn-scratch", lambda p, x, y: net.train(net.fresh({k: v.shape for k, v in p.items()}, 15), x, y,
                                                                   net.Adam(1e-3), 150, 16, drift=False))


def cnn_grid(finer: float) -> Callable[[Shelf], Weights]:
    return lambda shelf: on_grid(cnn_v1(shelf), cnn_short(shelf), finer)


def as_shipped(name: str, weights: Callable[[Shelf], Weights]) -> Callable[[Shelf], Path]:
    """In the container of the model that is there."""
    return lambda shelf: shelf.file(f"{name}.onnx", lambda path: path.write_bytes(onnx_replace(SHIPPED.read_bytes(), weights(shelf))))


def channel_scales(w: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(w.reshape(w.shape[0], -1)).max(1) / F32(127), F32(1e-12)).astype(F32)


def quantized(w: np.ndarray, scales: np.ndarray) -> np.ndarray:
    wide = scales.reshape(-1, *[1] * (w.ndim - 1))
    return np.clip(np.rint(w / wide), -127, 127).astype(np.int8)


def put_weight(graph: Onnx, name: str, w: np.ndarray, kind: str, scales: np.ndarray | None) -> str:
    """The weight in the graph's kind; gives the name of the value that has it as a float."""
    if kind == "f16":
        return graph.initializer(name, w.astype(np.float16))
    if kind == "i8":
        scales = channel_scales(w) if scales is None else scales
        parts = [quantized(w, scales), scales, np.zeros(len(scales), np.int8)]
    elif kind == "u8":
        low, high = min(float(w.min()), 0.0), max(float(w.max()), 0.0)
        scale = F32((high - low) / 255)
        zero = np.uint8(np.rint(-low / scale))
        parts = [np.clip(np.rint(w / scale) + zero, 0, 255).astype(np.uint8), np.array(scale), np.array(zero)]
    else:
        return graph.initializer(name, w)
    names = [graph.initializer(name + end, part) for end, part in zip(("_q", "_scale", "_zp"), parts, strict=True)]
    return graph.node("DequantizeLinear", names, name, **({"axis": 0} if kind == "i8" else {}))


def cnn_file(path: Path, p: Weights, kind: str, scales_of: Weights | None = None, rename: Callable[[str], str] = str) -> None:
    graph = Onnx()
    half = kind == "f16"

    def layer(op, x, name, **attributes):
        kept = channel_scales(scales_of[f"{name}.weight"]) if scales_of is not None else None
        bias = p[f"{name}.bias"].astype(np.float16) if half else p[f"{name}.bias"]
        inputs = [x, put_weight(graph, rename(f"{name}.weight"), p[f"{name}.weight"], kind, kept),
                  graph.initializer(rename(f"{name}.bias"), bias)]
        return graph.node(op, inputs, **attributes)

    x = graph.node("Cast", ["input"], to=10) if half else "input"
    for i in (1, 2, 3, 4):
        x = graph.node("Relu", [layer("Conv", x, f"c{i}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])])
        if i in (2, 4):
            x = graph.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("Relu", [layer("Gemm", graph.node("Flatten", [x]), "f1", transB=1)])
    x = layer("Gemm", x, "f2", transB=1)
    x = graph.node("Cast", [x], "logits", to=1) if half else graph.node("Identity", [x], "logits")
    graph.write(path, [-1, 1, 16, 16], 10, "logits")


def exported(name: str, weights: Callable[[Shelf], Weights], kind: str, scales_of=None, rename=str) -> Callable[[Shelf], Path]:
    def make(shelf, path):
        cnn_file(path, weights(shelf), kind, scales_of(shelf) if scales_of is not None else None, rename)

    return lambda shelf: shelf.file(f"{name}.onnx", lambda path: make(shelf, path))


def safetensors(name: str, weights: Callable[[Shelf], Weights], kind: Callable[[np.ndarray], np.ndarray]) -> Callable[[Shelf], Path]:
    return lambda shelf: shelf.file(f"{name}.safetensors",
                                    lambda path: safetensors_write(path, {n: kind(a) for n, a in weights(shelf).items()}))


def plain(array: np.ndarray) -> np.ndarray:
    return array


def other_name(name: str) -> str:
    return "features/" + name.replace(".", "/") + ":0"


# ---- a network like ResNet-18, simulated ----

def resnet_layers() -> list[tuple[str, tuple[int, ...]]]:
    layers = [("conv1", (64, 3, 7, 7))]
    width = 64
    for stage, out in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            head = f"layer{stage}.{block}"
            layers += [(f"{head}.conv1", (out, width, 3, 3)), (f"{head}.conv2", (out, out, 3, 3))]
            if width != out:
                layers.append((f"{head}.downsample", (out, width, 1, 1)))
            width = out
    return [*layers, ("fc", (1000, 512))]


def structured(rng: np.random.Generator, rows: int, cols: int, rank: int, decay: float) -> np.ndarray:
    """A matrix with singular values that fall like those of a trained layer, of unit size, with rows of unlike scale."""
    left, right = rng.standard_normal((rows, rank), F32), rng.standard_normal((rank, cols), F32)
    strength = (np.arange(1, rank + 1) ** -decay).astype(F32)
    core = (left * strength) @ right
    m = core / core.std() + rng.standard_normal((rows, cols), F32)
    m *= np.abs(rng.standard_normal((rows, cols), F32)) ** F32(0.4)  # heavier tails than a Gaussian's
    m *= np.exp(rng.normal(0, 0.3, (rows, 1))).astype(F32)
    return m / m.std()


def resnet_v1(shelf: Shelf) -> Weights:
    def make():
        rng, p = np.random.default_rng(21), {}
        for name, shape in resnet_layers():
            cols = int(np.prod(shape[1:]))
            size = F32(np.sqrt(1.2 / cols))
            p[f"{name}.weight"] = (structured(rng, shape[0], cols, max(4, min(shape[0], cols) // 4), 0.6) * size).reshape(shape).astype(F32)
            if name == "fc":
                p["fc.bias"] = rng.normal(0, 0.02, 1000).astype(F32)
                continue
            p[f"{name}.bn.gamma"] = (1 + rng.normal(0, 0.2, shape[0])).astype(F32)
            p[f"{name}.bn.beta"] = rng.normal(0, 0.15, shape[0]).astype(F32)
            p[f"{name}.bn.mean"] = rng.normal(0, 0.4, shape[0]).astype(F32)
            p[f"{name}.bn.var"] = np.exp(rng.normal(-1, 0.5, shape[0])).astype(F32)
        return p

    return shelf.weights("resnet-v1", make)


def simulated_adam(w: np.ndarray, rng: np.random.Generator, steps: int, rate: float) -> np.ndarray:
    """A weight after steps of Adam: each gradient is a sum of 48 outer products of activations and errors, which share a
    common part from step to step, as they do in training; inputs and outputs are of very unlike strength."""
    flat = w.reshape(w.shape[0], -1)
    rows, cols = flat.shape
    p = {"w": flat}
    adam = net.Adam(rate)
    size_in = np.exp(rng.normal(0, 0.7, cols)).astype(F32)
    size_out = np.exp(rng.normal(0, 0.7, rows)).astype(F32)
    mean_in, mean_out = rng.standard_normal((48, cols), F32), rng.standard_normal((48, rows), F32)
    for _ in range(steps):
        a = (mean_in * F32(0.6) + rng.standard_normal((48, cols), F32)) * size_in
        b = (mean_out * F32(0.6) + rng.standard_normal((48, rows), F32)) * size_out
        adam.step(p, {"w": b.T @ a * F32(1e-4)})
    return p["w"].reshape(w.shape)


def resnet_moved(shelf: Shelf) -> Weights:
    def make():
        rng = np.random.default_rng(22)
        return {n: simulated_adam(w, rng, 20, 5e-5) if n.endswith(".weight") else w for n, w in resnet_v1(shelf).items()}

    return shelf.weights("resnet-moved", make)


def resnet_live(shelf: Shelf) -> Weights:
    """The same, with BatchNorm not frozen: its parameters and running statistics move as well."""
    rng, out = np.random.default_rng(23), {}
    for name, a in resnet_moved(shelf).items():
        step = {"gamma": 1e-3, "beta": 1e-3, "mean": 2e-2}.get(name.rsplit(".", 1)[-1])
        if name.endswith(".var"):
            a = (a * np.exp(rng.normal(0, 0.03, a.shape))).astype(F32)
        elif step is not None:
            a = (a + rng.normal(0, step, a.shape)).astype(F32)
        out[name] = a
    return out


def resnet_lora(shelf: Shelf) -> Weights:
    rng, out = np.random.default_rng(24), {}
    for name, w in resnet_v1(shelf).items():
        if name.endswith(".weight") and name != "conv1.weight":
            flat = w.reshape(w.shape[0], -1)
            update = rng.standard_normal((flat.shape[0], 4), F32) @ rng.standard_normal((4, flat.shape[1]), F32)
            w = (flat + update * F32(0.02 * flat.std())).reshape(w.shape)
        out[name] = w
    return out


def folded(p: Weights) -> Weights:
    """BatchNorm folded into the convolution before it, as runtimes want it for int8."""
    out = {}
    for name, _ in resnet_layers()[:-1]:
        gain = p[f"{name}.bn.gamma"] / np.sqrt(p[f"{name}.bn.var"] + F32(1e-5))
        out[f"{name}.weight"] = (p[f"{name}.weight"] * gain[:, None, None, None]).astype(F32)
        out[f"{name}.bias"] = (p[f"{name}.bn.beta"] - p[f"{name}.bn.mean"] * gain).astype(F32)
    return {**out, "fc.weight": p["fc.weight"], "fc.bias": p["fc.bias"]}


def resnet_file(path: Path, p: Weights, kind: str) -> None:
    graph = Onnx()
    if kind == "i8":
        p = folded(p)
    float_type = np.float16 if kind == "f16" else F32

    def conv(x, name, stride):
        shape = p[f"{name}.weight"].shape
        inputs = [x, put_weight(graph, f"{name}.weight", p[f"{name}.weight"], kind, None)]
        if kind == "i8":
            inputs.append(graph.initializer(f"{name}.bias", p[f"{name}.bias"]))
        x = graph.node("Conv", inputs, kernel_shape=list(shape[2:]), pads=[shape[2] // 2] * 4, strides=[stride] * 2)
        if kind == "i8":
            return x
        more = [graph.initializer(f"{name}.bn.{part}", p[f"{name}.bn.{part}"].astype(float_type)) for part in ("gamma", "beta", "mean", "var")]
        return graph.node("BatchNormalization", [x, *more], epsilon=1e-5)

    x = graph.node("Cast", ["input"], to=10) if kind == "f16" else "input"
    x = graph.node("Relu", [conv(x, "conv1", 2)])
    x = graph.node("MaxPool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            head, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = conv(graph.node("Relu", [conv(x, f"{head}.conv1", stride)]), f"{head}.conv2", 1)
            short = conv(x, f"{head}.downsample", stride) if f"{head}.downsample.weight" in p else x
            x = graph.node("Relu", [graph.node("Add", [y, short])])
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])])
    x = graph.node("Gemm", [x, put_weight(graph, "fc.weight", p["fc.weight"], kind, None),
                            graph.initializer("fc.bias", p["fc.bias"].astype(float_type))], transB=1)
    x = graph.node("Cast", [x], "logits", to=1) if kind == "f16" else graph.node("Identity", [x], "logits")
    graph.write(path, [-1, 3, 224, 224], 1000, "logits")


def resnet(name: str, weights: Callable[[Shelf], Weights], kind: str) -> Callable[[Shelf], Path]:
    return lambda shelf: shelf.file(f"{name}.onnx", lambda path: resnet_file(path, weights(shelf), kind))


# ---- what is no model ----

def program(shelf: Shelf) -> Path:
    return shelf.file("musterctl-full", lambda path: subprocess.run(["strip", "-o", path, shelf.build / "musterctl-full"], check=True))


def relinked(shelf: Shelf) -> Path:
    """The same code at other addresses: linked in the other order, as when a file was added."""
    def make(path):
        sources = sorted({*ROOT.glob("cli/**/*.c"), *ROOT.glob("common/**/*.c")} - {ROOT / "cli/main.c"}, reverse=True)
        objects = [shelf.build / source.relative_to(ROOT).with_suffix(".o") for source in sources]
        settings = dict(re.findall(r"^(LIBS_\w+) *= *(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
        libraries = f"{settings['LIBS_CURL']} {settings['LIBS_COMMON']}".split()
        subprocess.run(["gcc", "-pie", "-s", "-Wl,-z,relro,-z,now", "-pthread", "-o", path, *objects, *libraries], check=True)

    return shelf.file("musterctl-full-relinked", make)


def recompiled(shelf: Shelf) -> Path:
    """Another optimization: nearly every function differs."""
    def make(path):
        build = shelf.folder / "O1"
        env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}  # not the settings of the make that runs us
        subprocess.run(["make", "-s", f"-j{os.cpu_count()}", f"BUILD={build}", "CFLAGS=-O1", build / "musterctl-full"], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL, env=env)
        subprocess.run(["strip", "-o", path, build / "musterctl-full"], check=True)

    return shelf.file("musterctl-full-O1", make)


def text_tar(path: Path, edited: bool) -> None:
    """This project's own text; edited: some lines changed, some gone, a file moved, a file new."""
    rng = np.random.default_rng(31)
    names = sorted(p for top in ("docs", "api", "server", "common") for p in (ROOT / top).rglob("*") if p.suffix in (".md", ".c", ".h", ".yaml"))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i, name in enumerate(names):
            lines = name.read_bytes().splitlines(keepends=True)
            if edited:
                fate = rng.random(len(lines))
                lines = [line.replace(b"e", b"E", 2) if f < 0.01 else line for line, f in zip(lines, fate, strict=True) if f < 0.99]
            entry = tarfile.TarInfo(f"{'moved/' if edited and i % 50 == 7 else ''}{name.relative_to(ROOT)}")
            data = b"".join(lines)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def copies_tar(path: Path, edited: bool) -> None:
    """Sources of this project; edited: a tenth of the lines changed, and each file there three times with hardly a difference."""
    rng = np.random.default_rng(37)

    def changed(data: bytes, share: float) -> bytes:
        lines = data.splitlines(keepends=True)
        return b"".join(line.replace(b"e", b"E", 2) if f < share else line for line, f in zip(lines, rng.random(len(lines)), strict=True))

    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(p for p in (ROOT / "common").rglob("*") if p.suffix in (".c", ".h")):
            data = changed(name.read_bytes(), 0.1) if edited else name.read_bytes()
            for top in ("one", "two", "three") if edited else ("one",):
                version = changed(data, 0.01) if edited else data
                entry = tarfile.TarInfo(f"{top}/{name.relative_to(ROOT)}")
                entry.size = len(version)
                tar.addfile(entry, io.BytesIO(version))


def noise(seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(2 << 20)


def shuffled(path: Path) -> None:
    """Random bytes in another order, with a little put in between."""
    data, rng = noise(41), np.random.default_rng(43)
    parts = [data[i:i + (64 << 10)] for i in range(0, len(data), 64 << 10)]
    path.write_bytes(b"".join(parts[i] + rng.bytes(37) for i in rng.permutation(len(parts))))


def kept(name: str, write: Callable[[Path], object]) -> Callable[[Shelf], Path]:
    return lambda shelf: shelf.file(name, lambda path: write(path) and None)
