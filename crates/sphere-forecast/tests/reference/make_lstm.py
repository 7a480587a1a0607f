"""What does PyTorch make of the small network that `../learned.rs` makes, too?

    apt-get install python3-torch        (or any PyTorch from 1.13 on)
    /usr/bin/python3 make_lstm.py > lstm.json

`same`: an LSTM with a linear head; weights (in the order of sphere_forecast::neural::Lstm), a batch, its answers, loss and
gradient, and the weights after three steps of Adam. `trained`: the error of the founding shape of network on a part of a
series that it was not trained on, mean of three seeds.
"""

import json
import math
import sys

import torch

torch.set_num_threads(1)


class Net(torch.nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.lstm = torch.nn.LSTM(inputs, hidden, batch_first=False)
        self.head = torch.nn.Linear(hidden, outputs)

    def forward(self, x):
        states, _ = self.lstm(x)
        return self.head(states[-1])

    def parts(self):
        return [
            self.lstm.weight_ih_l0, self.lstm.weight_hh_l0, self.lstm.bias_ih_l0, self.head.weight, self.head.bias
        ]


def flat(tensors):
    """Matrices transposed, one after the other; PyTorch's second bias stays 0."""
    with torch.no_grad():
        return [float(v) for t in tensors for v in (t.t() if t.dim() == 2 else t).reshape(-1)]


def same():
    torch.manual_seed(11)
    inputs, hidden, outputs, steps, samples = 2, 4, 3, 5, 3
    net = Net(inputs, hidden, outputs)
    with torch.no_grad():
        net.lstm.bias_hh_l0.zero_()
    net.lstm.bias_hh_l0.requires_grad = False
    x, y = torch.randn(steps, samples, inputs), torch.randn(samples, outputs)
    result = {
        "shape": {"inputs": inputs, "hidden": hidden, "outputs": outputs},
        "samples": samples,
        "parameters": flat(net.parts()),
        "inputs": x.reshape(-1).tolist(),
        "targets": y.reshape(-1).tolist(),
    }
    adam = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    for step in range(3):
        adam.zero_grad()
        answers = net(x)
        loss = torch.nn.functional.mse_loss(answers, y)
        loss.backward()
        if step == 0:
            result["answers"] = answers.reshape(-1).tolist()
            result["loss"] = float(loss)
            result["gradient"] = flat([p.grad for p in net.parts()])
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    result["after_three_steps"] = flat(net.parts())
    return result


def series(n):
    state, values = 5, []
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(math.sin(i / 6) + 0.5 * math.sin(i / 2.5) + 0.4 * (state >> 33) / 2**31)
    return values


def trained():
    values = torch.tensor(series(1400), dtype=torch.float32)
    x = values.unfold(0, 30, 1)[: 1400 - 44]
    y = torch.stack([values[i + 30 : i + 45] for i in range(len(x))])
    errors = []
    for seed in range(3):
        torch.manual_seed(seed)
        net = Net(1, 24, 15)
        adam = torch.optim.Adam(net.parameters(), lr=0.003)
        for _ in range(400):
            pick = torch.randint(0, 1000, (32,))
            loss = torch.nn.functional.mse_loss(net(x[pick].t().unsqueeze(2)), y[pick])
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            adam.step()
        with torch.no_grad():
            errors.append(float(torch.nn.functional.mse_loss(net(x[1045:].t().unsqueeze(2)), y[1045:])))
    return {"mse": sum(errors) / len(errors)}


if __name__ == "__main__":
    json.dump(
        {"made_with": f"torch {torch.__version__}", "same": same(), "trained": trained()},
        sys.stdout,
        separators=(",", ":"),
    )
