"""The training step of EASQ, preset `recommended`, as one would first write it in PyTorch.

Started by `training_step_speed.py` in an interpreter that has torch; imports nothing of this
repository. Reads a batch and the weights of the Keras model from the folder named on the command
line, so that both do the same arithmetic, and prints the loss of the first step. Then, for each
line with a number on standard input, it makes so many steps and prints the seconds they took. With
`compile` as a second argument `torch.compile` makes the loss.
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


class Network(nn.Module):
    def __init__(self, weights, name):
        super().__init__()
        self.hidden = linear(weights, f"{name}/hidden")
        self.output = linear(weights, f"{name}/output", bias=f"{name}/output/bias" in weights)

    def forward(self, h):
        return self.output(F.softplus(self.hidden(h)))[..., 0]


def tower(weights, name):
    return (Experts if f"{name}/gate_kernel" in weights else Network)(weights, name)


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
        self.tower = tower(weights, "tower")
        self.satisfaction_tower = tower(weights, "satisfaction_tower")
        self.behaviour_head = Network(weights, "behaviour_head")

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
        behaviour = self.behaviour_head(h) * mask
        return score, satisfaction, behaviour


def differences(values):
    return values[:, :, None] - values[:, None, :]


def centred(values, shown):
    mean = (values * shown).sum(-1, keepdim=True) / shown.sum(-1, keepdim=True).clamp(min=1)
    return (values - mean) * shown


def spread(values, shown):
    return (centred(values, shown).square().sum() / shown.sum().clamp(min=1)).sqrt()


class Trainer:
    def __init__(self, folder, compiled):
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
        self.scale = torch.ones(2)
        self.loss = torch.compile(self.plain_loss) if compiled else self.plain_loss

    def plain_loss(self, batch, old_scale):
        settings = self.settings
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
        # As a mean over the answered ones, without a shape that depends on how many there are.
        bce = F.binary_cross_entropy_with_logits(satisfaction, answer, reduction="none")
        bce = (bce * answered).sum() / answered.sum().clamp(min=1)
        with torch.no_grad():
            scale = old_scale[0] / old_scale[1].clamp(min=COLLAPSED_STD)
            liking = 2 * torch.sigmoid(scale * centred(satisfaction, shown))
            preferred = F.relu(differences(liking)) * both
        margin = settings["beta"] * differences(score - behaviour.detach())
        dpo = (preferred * F.softplus(-margin)).sum() / pairs
        with torch.no_grad():
            found = torch.stack([spread(score, shown), spread(satisfaction, shown)])
            new_scale = SCALE_MOMENTUM * old_scale + (1 - SCALE_MOMENTUM) * found
        total = main + head + settings["lambda_satisfaction"] * bce + settings["lambda_dpo"] * dpo
        return total, new_scale

    def step(self):
        loss, self.scale = self.loss(self.batch, self.scale)
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
    trainer = Trainer(Path(sys.argv[1]), compiled=sys.argv[2:] == ["compile"])
    print(json.dumps({"torch": torch.__version__, "loss": float(trainer.step())}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            trainer.step()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
