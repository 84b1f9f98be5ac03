"""The training step of EASQ, preset `recommended`, as one would first write it in PyTorch.

Started by `training_step_speed.py` in an interpreter that has torch; imports nothing of this
repository. Reads a batch and the weights of the Keras model from the folder named on the command
line, so that both do the same arithmetic, and prints the loss of the first step. Then, for each
line with a number on standard input, it makes so many steps and prints the seconds they took.
"""

import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

NORM_EPSILON = 1e-6
COLLAPSED_STD, SCALE_MOMENTUM = 0.1, 0.99


def unit_scale(h):
    return h * torch.rsqrt(h.square().mean(-1, keepdim=True) + NORM_EPSILON)


def linear(weights, name, bias=True):
    kernel = torch.from_numpy(weights[f"{name}/kernel"])
    layer = nn.Linear(*kernel.shape, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(kernel.T)
        if bias:
            layer.bias.copy_(torch.from_numpy(weights[f"{name}/bias"]))
    return layer


class Encoder(nn.Module):
    def __init__(self, weights, heads):
        super().__init__()
        self.heads = heads
        self.projection = linear(weights, "backbone/projection")
        block = "backbone/block_0"
        self.attention_in = linear(weights, f"{block}/attention_in")
        self.attention_out = linear(weights, f"{block}/attention_out")
        self.network_in = linear(weights, f"{block}/network_in")
        self.network_out = linear(weights, f"{block}/network_out")

    def forward(self, x, mask):
        h = self.projection(x)
        rows, slate, width = h.shape
        split = self.attention_in(unit_scale(h)).view(rows, slate, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
        scores = scores.masked_fill(~mask[:, None, None, :], -1e9)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, slate, width)
        h = h + self.attention_out(mixed)
        h = h + self.network_out(F.softplus(self.network_in(unit_scale(h))))
        return unit_scale(h) * mask[:, :, None]


def of_gate(weights, name):
    return {f"gate/{part}": weights[f"{name}/gate_{part}"] for part in ("kernel", "bias")}


def of_expert(weights, name, expert):
    return {
        f"{layer}/{part}": weights[f"{name}/{layer}_{part}"][expert]
        for layer in ("hidden", "output")
        for part in ("kernel", "bias")
    }


class Experts(nn.Module):
    def __init__(self, weights, name):
        super().__init__()
        self.gate = linear(of_gate(weights, name), "gate")
        experts = range(len(weights[f"{name}/hidden_kernel"]))
        self.hidden = nn.ModuleList(linear(of_expert(weights, name, e), "hidden") for e in experts)
        self.output = nn.ModuleList(linear(of_expert(weights, name, e), "output") for e in experts)

    def forward(self, h):
        centred = h - h.mean(-1, keepdim=True)
        gates = F.relu(
            self.gate(centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + NORM_EPSILON))
        )
        outputs = [
            out(F.softplus(hidden(h))) for hidden, out in zip(self.hidden, self.output, strict=True)
        ]
        return (gates * torch.cat(outputs, -1)).sum(-1)


class Ranker(nn.Module):
    def __init__(self, weights, features, heads):
        super().__init__()
        self.features = features
        self.tables = nn.ModuleDict()
        for spec in features:
            if spec["num_buckets"]:
                table = torch.from_numpy(weights[f"embedding/{spec['name']}/embeddings"])
                self.tables[spec["name"]] = nn.Embedding.from_pretrained(table, freeze=False)
        self.backbone = Encoder(weights, heads)
        self.lora_a = nn.Parameter(torch.from_numpy(weights["lora/lora_kernel_a"]))
        self.lora_b = nn.Parameter(torch.from_numpy(weights["lora/lora_kernel_b"]))
        self.tower = Experts(weights, "tower")
        self.satisfaction_tower = Experts(weights, "satisfaction_tower")
        self.head_hidden = linear(weights, "behaviour_head/hidden")
        self.head_output = linear(weights, "behaviour_head/output", bias=False)

    def satisfaction_parameters(self):
        return [self.lora_a, self.lora_b, *self.satisfaction_tower.parameters()]

    def forward(self, batch, mask):
        columns = []
        for spec in self.features:
            value = batch[spec["name"]]
            value = self.tables[spec["name"]](value) if spec["num_buckets"] else value[..., None]
            if spec["level"] == "user":
                value = value[:, None, :].expand(*mask.shape, -1)
            columns.append(value)
        x = torch.cat(columns, -1) * mask[:, :, None]
        h = self.backbone(x, mask)
        delta = x.detach() @ self.lora_a @ self.lora_b
        satisfaction = self.satisfaction_tower(h.detach() + delta) * mask
        score = self.tower(h.detach() + delta.detach()) * mask
        behaviour = self.head_output(F.softplus(self.head_hidden(h)))[..., 0] * mask
        return score, satisfaction, behaviour


def differences(values):
    return values[:, :, None] - values[:, None, :]


def centred(values, shown):
    mean = (values * shown).sum(-1, keepdim=True) / shown.sum(-1, keepdim=True).clamp(min=1)
    return (values - mean) * shown


def spread(values, shown):
    return (centred(values, shown).square().sum() / shown.sum().clamp(min=1)).sqrt()


class Trainer:
    def __init__(self, folder):
        self.settings = json.loads((folder / "settings.json").read_text())
        batch = np.load(folder / "batch.npz")
        self.batch = {name: torch.from_numpy(batch[name]) for name in batch.files}
        weights = dict(np.load(folder / "weights.npz"))
        self.model = Ranker(weights, self.settings["features"], self.settings["num_heads"])
        satisfaction = self.model.satisfaction_parameters()
        self.satisfaction = satisfaction
        self.initial = [parameter.detach().clone() for parameter in satisfaction]
        apart = {id(parameter) for parameter in satisfaction}
        others = [p for p in self.model.parameters() if id(p) not in apart]
        self.rate = self.settings["learning_rate"]
        # eps as in Keras.
        self.optimizer = torch.optim.Adam(others, lr=self.rate, eps=1e-7)
        self.satisfaction_optimizer = torch.optim.Adam(satisfaction, lr=self.rate, eps=1e-7)
        self.scale = [1.0, 1.0]

    def loss(self):
        batch, settings = self.batch, self.settings
        mask = batch["mask"] > 0
        score, satisfaction, behaviour = self.model(batch, mask)
        levels, answer = batch["behaviour"], batch["answer"]
        shown = (levels >= 0) & mask
        both = shown[:, :, None] & shown[:, None, :]
        wanted = ((differences(levels) > 0) & both).float()
        pairs = wanted.sum().clamp(min=1)
        main = (wanted * F.softplus(-differences(score))).sum() / pairs
        head = (wanted * F.softplus(-differences(behaviour))).sum() / pairs
        answered = (answer >= 0) & mask
        bce = F.binary_cross_entropy_with_logits(satisfaction[answered], answer[answered])
        with torch.no_grad():
            scale = self.scale[0] / max(self.scale[1], COLLAPSED_STD)
            liking = 2 * torch.sigmoid(scale * centred(satisfaction, shown))
            preferred = F.relu(differences(liking)) * both
        margin = settings["beta"] * differences(score - behaviour.detach())
        dpo = (preferred * F.softplus(-margin)).sum() / pairs
        with torch.no_grad():
            found = [float(spread(score, shown)), float(spread(satisfaction, shown))]
        self.scale = [
            SCALE_MOMENTUM * old + (1 - SCALE_MOMENTUM) * new
            for old, new in zip(self.scale, found, strict=True)
        ]
        return main + head + settings["lambda_satisfaction"] * bce + settings["lambda_dpo"] * dpo

    def step(self):
        loss = self.loss()
        self.optimizer.zero_grad()
        self.satisfaction_optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            decay = self.rate * self.settings["satisfaction_decay"]
            for parameter, initial in zip(self.satisfaction, self.initial, strict=True):
                parameter -= decay * (parameter - initial)
        self.optimizer.step()
        self.satisfaction_optimizer.step()
        return loss.detach()


def main():
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    trainer = Trainer(Path(sys.argv[1]))
    print(json.dumps({"torch": torch.__version__, "loss": float(trainer.step())}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            trainer.step()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
