"""The pairs that the bench compares deltas on: an old and a new version of a file each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from containers import bfloat16, onnx_read
from models import (DATA, Shelf, as_shipped, cnn_adamw, cnn_grid, cnn_head, cnn_lora, cnn_scratch, cnn_sgd, cnn_short, cnn_v1, copies_tar,
                    exported, kept, noise, other_name, plain, program, recompiled, relinked, resnet, resnet_live, resnet_lora,
                    resnet_moved, resnet_v1, safetensors, shuffled, text_tar)


@dataclass(frozen=True)
class Pair:
    name: str
    title: str
    old: Callable[["Shelf"], Path]
    new: Callable[["Shelf"], Path]
    quick: bool = False  # part of the quick form
    model: bool = True  # a model; else the generic path
    large: bool = False  # for memory and speed
    bsdiff: bool = True  # else it would need minutes more


def shipped(name: str) -> Callable[[Shelf], Path]:
    return lambda _shelf: DATA / name


V1 = shipped("cnn_v1.onnx")
PAIRS = [
    Pair("cnn-head", "CNN, head only retrained", V1, as_shipped("cnn-head", cnn_head), quick=True),
    Pair("cnn-short", "CNN, fine-tuned (Adam, short)", V1, as_shipped("cnn-short", cnn_short), quick=True),
    Pair("cnn-long", "CNN, fine-tuned (Adam, long)", V1, shipped("cnn_v2_ft_long.onnx"), quick=True),
    Pair("cnn-adamw", "CNN, fine-tuned with weight decay (AdamW)", V1, as_shipped("cnn-adamw", cnn_adamw)),
    Pair("cnn-sgd", "CNN, fine-tuned (SGD with momentum)", V1, as_shipped("cnn-sgd", cnn_sgd)),
    Pair("cnn-lora", "CNN, LoRA rank 4, merged", V1, as_shipped("cnn-lora", cnn_lora)),
    Pair("cnn-grid", "CNN, fine-tune published on a grid", V1, as_shipped("cnn-grid", cnn_grid(1)), quick=True),
    Pair("cnn-grid4", "CNN, the same on a grid four times finer", V1, as_shipped("cnn-grid4", cnn_grid(4))),
    Pair("cnn-f16", "CNN fp16, fine-tuned", exported("cnn-v1-f16", cnn_v1, "f16"), exported("cnn-short-f16", cnn_short, "f16")),
    Pair("cnn-bf16", "CNN bf16 safetensors, fine-tuned", safetensors("cnn-v1-bf16", cnn_v1, bfloat16),
         safetensors("cnn-long-bf16", lambda _shelf: onnx_read((DATA / "cnn_v2_ft_long.onnx").read_bytes()), bfloat16)),
    Pair("cnn-st", "CNN fp32 safetensors, fine-tuned", safetensors("cnn-v1", cnn_v1, plain), safetensors("cnn-short", cnn_short, plain)),
    Pair("cnn-i8", "CNN int8, fine-tuned, scales recomputed", exported("cnn-v1-i8", cnn_v1, "i8"), exported("cnn-short-i8", cnn_short, "i8"),
         quick=True),
    Pair("cnn-i8k", "CNN int8, fine-tuned, scales kept", exported("cnn-v1-i8", cnn_v1, "i8"),
         exported("cnn-short-i8k", cnn_short, "i8", scales_of=cnn_v1)),
    Pair("cnn-u8", "CNN uint8, fine-tuned, scales recomputed", exported("cnn-v1-u8", cnn_v1, "u8"), exported("cnn-short-u8", cnn_short, "u8")),
    Pair("cnn-renamed", "CNN, fine-tuned, other exporter and names", V1, exported("cnn-renamed", cnn_short, "f32", rename=other_name)),
    Pair("cnn-scratch", "CNN, retrained from scratch", V1, as_shipped("cnn-scratch", cnn_scratch)),
    Pair("resnet", "ResNet-18 (sim.), all weights moved", resnet("resnet-v1", resnet_v1, "f32"), resnet("resnet-moved", resnet_moved, "f32"),
         quick=True, large=True),
    Pair("resnet-lora", "ResNet-18 (sim.), LoRA merged", resnet("resnet-v1", resnet_v1, "f32"), resnet("resnet-lora", resnet_lora, "f32"),
         large=True, bsdiff=False),
    Pair("resnet-f16", "ResNet-18 (sim.) fp16, all weights moved", resnet("resnet-v1-f16", resnet_v1, "f16"),
         resnet("resnet-moved-f16", resnet_moved, "f16"), bsdiff=False),
    Pair("resnet-i8", "ResNet-18 (sim.) int8, BatchNorm frozen", resnet("resnet-v1-i8", resnet_v1, "i8"),
         resnet("resnet-moved-i8", resnet_moved, "i8")),
    Pair("resnet-i8-live", "ResNet-18 (sim.) int8, BatchNorm live", resnet("resnet-v1-i8", resnet_v1, "i8"),
         resnet("resnet-live-i8", resnet_live, "i8")),
    Pair("program", "program, linked in another order", program, relinked, model=False, quick=True),
    Pair("program-O1", "program, compiled with -O1", program, recompiled, model=False),
    Pair("text", "tar of text, 2 % of the lines changed", kept("text-1.tar", lambda path: text_tar(path, False)),
         kept("text-2.tar", lambda path: text_tar(path, True)), model=False, quick=True),
    Pair("copies", "tar of text, each file three times in the new one", kept("copies-1.tar", lambda path: copies_tar(path, False)),
         kept("copies-2.tar", lambda path: copies_tar(path, True)), model=False),
    Pair("noise", "random bytes, others", kept("noise-1", lambda path: path.write_bytes(noise(41))),
         kept("noise-2", lambda path: path.write_bytes(noise(42))), model=False),
    Pair("noise-moved", "random bytes, in another order", kept("noise-1", lambda path: path.write_bytes(noise(41))),
         kept("noise-moved", shuffled), model=False),
]
