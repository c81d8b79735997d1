"""Facts behind reference_answers/pytorch/20-reinforcement-learning.yaml, shown on real torch."""

import copy
import importlib.util

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal


class Corridor:
    """A world without any torch in it: start at cell 1 of 0..4; the right end pays 1, the left end 0."""

    def reset(self) -> int:
        self.cell = 1
        return self.cell

    def step(self, action: int) -> tuple[int, float, bool]:
        self.cell += 1 if action == 1 else -1
        return self.cell, float(self.cell == 4), self.cell in (0, 4)


def play(policy: nn.Module, env: Corridor) -> tuple[torch.Tensor, float, int]:
    """Sum of the log-probabilities of the actions taken, the return and the length of one episode."""
    state, done, log_probs, total = env.reset(), False, [], 0.0
    while not done:
        distribution = Categorical(logits=policy(torch.eye(5)[state]))
        action = distribution.sample()
        log_probs.append(distribution.log_prob(action))
        state, reward, done = env.step(int(action))
        total += reward
    return torch.stack(log_probs).sum(), total, len(log_probs)


def test_reinforce_learns_from_its_own_experience() -> None:
    """function-approximator, example-loop, example-loss: minus log-probability times return teaches the right way."""
    torch.manual_seed(0)
    policy, env = nn.Linear(5, 2), Corridor()
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.05)
    for _ in range(100):
        log_prob, total, length = play(policy, env)
        loss = -log_prob * total * 0.8**length  # a prize that comes late is worth less
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    chance_of_right = policy(torch.eye(5)).softmax(dim=-1)[1:4, 1]
    assert bool((chance_of_right > 0.9).all())
    assert sum(play(policy, env)[1] for _ in range(20)) >= 18


def test_torch_has_no_environments() -> None:
    """env-separate: torch holds neither environments nor agents."""
    assert all(importlib.util.find_spec(name) is None for name in ("torch.envs", "torch.gym", "torch.rl"))


def test_episodes_may_differ_in_length() -> None:
    """dynamic-graph: each pass of a plain while loop builds a graph of its own, long or short."""
    torch.manual_seed(1)
    policy, env = nn.Linear(5, 2), Corridor()
    lengths = set()
    for _ in range(20):
        log_prob, _, length = play(policy, env)
        policy.zero_grad()
        log_prob.backward()
        assert policy.weight.grad is not None
        lengths.add(length)
    assert len(lengths) > 1


def test_log_prob_carries_the_gradient_and_the_draw_does_not() -> None:
    """distributions: Categorical samples without a gradient, log_prob() is connected to the logits."""
    torch.manual_seed(0)
    logits = torch.tensor([0.5, -0.2, 1.0], requires_grad=True)
    distribution = Categorical(logits=logits)
    action = distribution.sample()
    assert not action.requires_grad
    distribution.log_prob(action).backward()
    expected = nn.functional.one_hot(action, 3) - logits.detach().softmax(dim=0)
    torch.testing.assert_close(logits.grad, expected)


def test_rsample_is_reparametrised() -> None:
    """distributions: Normal.rsample() is differentiable with respect to its parameters, sample() is not."""
    mu = torch.tensor(0.3, requires_grad=True)
    assert not Normal(mu, 1.0).sample().requires_grad
    Normal(mu, 1.0).rsample().backward()
    assert mu.grad is not None
    assert mu.grad.item() == 1.0


def test_reward_cannot_be_back_propagated() -> None:
    """Misconception differentiable-env: the reward of a step knows nothing of the network that chose the action."""
    torch.manual_seed(0)
    policy, env = nn.Linear(5, 2), Corridor()
    action = Categorical(logits=policy(torch.eye(5)[env.reset()])).sample()
    _, reward, _ = env.step(int(action))
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.tensor(reward).backward()


def test_target_network_gets_no_gradients_and_is_copied() -> None:
    """example-loss, target-net-trained: one DQN update lowers the TD error and leaves the target network alone."""
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    target = copy.deepcopy(online)
    optimizer = torch.optim.AdamW(online.parameters(), lr=1e-3)
    state, following, reward = torch.randn(32, 4), torch.randn(32, 4), torch.randn(32)
    action = torch.randint(2, (32, 1))

    def td_loss() -> torch.Tensor:
        with torch.no_grad():
            wanted = reward + 0.99 * target(following).max(dim=1).values
        return nn.functional.smooth_l1_loss(online(state).gather(1, action).squeeze(1), wanted)

    before = td_loss()
    before.backward()
    optimizer.step()
    assert td_loss() < before
    assert all(p.grad is None for p in target.parameters())
    assert not torch.equal(target[0].weight, online[0].weight)
    target.load_state_dict(online.state_dict())
    assert torch.equal(target[0].weight, online[0].weight)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_parallel_environments_are_one_batch_on_the_gpu() -> None:
    """gpu-scale: the actions of thousands of environments come from one forward pass on the accelerator."""
    policy = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2)).to("cuda")
    actions = Categorical(logits=policy(torch.randn(4096, 4, device="cuda"))).sample()
    assert actions.shape == (4096,)
    assert actions.is_cuda
