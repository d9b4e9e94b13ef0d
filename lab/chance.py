"""What chance allows: exact intervals for shares and quantiles, bounds for losses in bursts.

Pure, standard library only, since ``make scenario`` needs it. Every interval here holds for any
number of samples; none is a normal approximation.

- ``share_interval``: Clopper and Pearson (1934), the exact interval of a binomial share.
- ``quantile_interval``: order statistics; exact whatever the distribution (David and Nagaraja,
  *Order Statistics*, 3rd ed., section 7.1).
- ``Chain.count_bounds``: for losses that depend on one another, by a Markov chain. With
  f(x) = the probability-weighted sum over the next step of exp(theta * lost) * f(next), and h > 0
  its eigenvector for the eigenvalue L: E exp(theta * S_n) <= L^n max(h) / min(h) from any first
  state, since 1 <= h / min(h). So, by Markov's inequality (Chernoff's bound),
  P(S_n >= s) <= exp(-theta s) L^n max(h) / min(h) for every theta > 0; the best theta gives the
  bound. It is wider than what the variance alone would say, and never wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, floor, lgamma, log, log1p

Interval = tuple[float, float]


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), to about 12 digits.

    By Lentz's continued fraction (DLMF 8.17.22), on the side where it converges quickly.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    tiny = 1e-300
    c, d = 1.0, 0.0
    fraction = 1.0
    for step in range(2000):
        m = step // 2
        if step == 0:
            numerator = 1.0
        elif step % 2 == 0:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + numerator * d or tiny)
        c = 1 + numerator / c or tiny
        fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * (fraction - 1)


def at_least(count: int, trials: int, probability: float) -> float:
    """Return P(X >= count) for X of Binomial(trials, probability)."""
    if count <= 0:
        return 1.0
    return 0.0 if count > trials else beta_cdf(probability, count, trials - count + 1)


@lru_cache(maxsize=256)
def share_interval(count: int, trials: int, error: float) -> Interval:
    """Return where the probability behind ``count`` of ``trials`` lies, wrong at most ``error``.

    Half of the error on each side. Of no trials nothing is known: 0 to 1.
    """
    low, high = 0.0, 1.0
    if count > 0:
        low = _crossing(lambda p: at_least(count, trials, p) - error / 2)
    if count < trials:
        high = _crossing(lambda p: error / 2 - (1 - at_least(count + 1, trials, p)))
    return low, high


def _crossing(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def share_band(trials: int, probability: float, error: float) -> tuple[int, int]:
    """Return the counts that a binomial variable keeps to but for ``error``, half on each side."""
    low = _largest(trials, lambda k: at_least(k, trials, probability) >= 1 - error / 2)
    high = _largest(trials, lambda k: at_least(k, trials, probability) > error / 2)
    return low, high


def quantile_interval(ordered: Sequence[float], quantile: float, error: float) -> Interval:
    """Return where a quantile of the distribution behind ascending samples lies.

    Wrong at most ``error``; infinite on a side where the samples are too few to say.
    """
    n = len(ordered)
    # x_(r) <= quantile unless fewer than r samples are below it: P(Bin(n, q) < r) <= error / 2.
    below = _largest(n, lambda r: 1 - at_least(r, n, quantile) <= error / 2)
    above = n + 1 - _largest(n, lambda r: at_least(n + 1 - r, n, quantile) <= error / 2)
    low = ordered[below - 1] if below else float("-inf")
    high = ordered[above - 1] if above <= n else float("inf")
    return low, high


def _largest(n: int, holds: Callable[[int], bool]) -> int:
    """Return the largest r up to n for which ``holds``, 0 for none; it holds for all smaller."""
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


Weights = Sequence[float]

MOST_ITERATIONS = 20_000


@dataclass(frozen=True)
class Chain:
    """A Markov chain of losses: ``step(f)`` takes values of the next states to the present ones.

    ``step(lost, kept)`` returns, for each state, the mean over the next packet of ``lost[next]`` if
    it is lost and ``kept[next]`` if not. ``may_go_round``: it may have a period. Iterations then
    stay put every other time, which changes no average and no eigenvector.
    """

    states: int
    step: Callable[[Weights, Weights], list[float]]
    may_go_round: bool = True

    @property
    def loss(self) -> float:
        """The share of packets lost in the long run."""
        return self._drift()[0]

    @property
    def variance(self) -> float:
        """The long-run variance of the number lost, a packet: n times it for n packets.

        Independent losses p have p (1 - p); bursts make it larger. By Poisson's equation.
        """
        loss, g = self._drift()
        # M = sum (lost - loss) + g(now) - g(before) is a martingale with the same growth.
        gain = [(1 - loss + v) for v in g]
        rest = [(-loss + v) for v in g]
        squares = self.step([v * v for v in gain], [v * v for v in rest])
        means = self.step(gain, rest)
        return self._average([s - m * m for s, m in zip(squares, means, strict=True)])

    def _average(self, values: Weights) -> float:
        """Return the mean of a function of the state, in the long run, from the first state."""
        current = list(values)
        for _ in range(MOST_ITERATIONS):
            new = self._damped(self.step(current, current), current)
            done = _furthest(new, current) < 1e-12
            current = new
            if done:
                break
        return current[0]

    def _drift(self) -> tuple[float, list[float]]:
        """Return the long-run loss, and by how much more is to come from each state."""
        once = self.step([1.0] * self.states, [0.0] * self.states)
        loss = self._average(once)
        total = [0.0] * self.states
        for _ in range(MOST_ITERATIONS):
            after = self.step(total, total)
            new = self._damped([o - loss + a for o, a in zip(once, after, strict=True)], total)
            done = _furthest(new, total) < 1e-10
            total = new
            if done:
                break
        return loss, total

    def _damped(self, after: list[float], before: list[float]) -> list[float]:
        if not self.may_go_round:
            return after
        return [(a + b) / 2 for a, b in zip(after, before, strict=True)]

    def count_bounds(self, trials: int, error: float) -> Interval:
        """Return bounds of the number lost of ``trials``: outside with at most ``error``."""
        spread = (trials * max(self.variance, 1e-12)) ** 0.5

        def bound(sign: int) -> float:
            def value(theta: float) -> float:
                growth, excess = self._growth(sign * theta)
                return (trials * growth + excess + log(2 / error)) / theta

            start = min((2 * log(2 / error)) ** 0.5 / spread, 5.0)
            return _minimum(value, start)

        return max(0.0, -bound(-1)), min(float(trials), bound(1))

    def _growth(self, theta: float) -> tuple[float, float]:
        """Return log L, and log(max(h) / min(h))."""
        factor = exp(theta)
        h = [1.0] * self.states
        low = high = 1.0
        for _ in range(MOST_ITERATIONS):
            new = self.step([factor * value for value in h], h)
            ratios = [a / b for a, b in zip(new, h, strict=True)]
            low, high = min(ratios), max(ratios)
            if high - low <= 1e-10 * high:
                break
            scale = max(new)
            h = [max(v, 1e-300) for v in self._damped([v / scale for v in new], h)]
        # Collatz and Wielandt: L <= high, whatever h; so an early end only widens the bound.
        return log(high), log(max(h) / min(h))


def _furthest(one: Weights, other: Weights) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _minimum(value: Callable[[float], float], start: float) -> float:
    """Return about the least value for an argument above 0; any argument gives a valid bound."""
    best = value(start)
    for factor in (2.0, 0.5):
        argument = start
        while (found := value(argument := argument * factor)) < best and 1e-9 < argument < 50:
            best, start = found, argument
    for factor in (1.4, 1 / 1.4, 1.2, 1 / 1.2, 1.1, 1 / 1.1):
        best = min(best, value(start * factor))
    return best


def independent(loss: float) -> Chain:
    """Return the chain of independent losses: one state."""
    return Chain(1, lambda lost, kept: [loss * lost[0] + (1 - loss) * kept[0]])


def gilbert_elliott(p: float, r: float, bad_loss: float, good_loss: float) -> Chain:
    """Return netem's ``loss gemodel P R 1-H 1-K``: states good and bad.

    A packet is lost by the state before its own change of state, as the kernel does it.
    """
    if not p:
        r = 1.0  # the bad state is never reached, and must not count

    def step(lost: Weights, kept: Weights) -> list[float]:
        rows = ((good_loss, ((0, 1 - p), (1, p))), (bad_loss, ((1, 1 - r), (0, r))))
        return [
            sum(chance * (loss * lost[to] + (1 - loss) * kept[to]) for to, chance in moves)
            for loss, moves in rows
        ]

    return Chain(2, step)


def four_states(p13: float, p31: float, p32: float, p23: float, p14: float) -> Chain:
    """Return netem's ``loss state``: good, good in a burst, lost in a burst, lost alone."""
    if not p32:
        p23 = 1.0  # "good in a burst" is never reached, and must not count
    moves = (
        ((0, 1 - p13 - p14), (2, p13), (3, p14)),
        ((1, 1 - p23), (2, p23)),
        ((2, 1 - p31 - p32), (0, p31), (1, p32)),
        ((0, 1.0),),
    )

    def step(lost: Weights, kept: Weights) -> list[float]:
        return [
            sum(chance * (lost[to] if to >= 2 else kept[to]) for to, chance in row) for row in moves
        ]

    return Chain(4, step)


CELLS = 100


def correlated(loss: float, correlation: float) -> Chain:
    """Return netem's ``loss P C``: each random number is (1 - C) of a fresh one plus C of the last.

    So the numbers bunch about the middle, and fewer than P of them are below P if P is small: the
    loss in the long run is not P. The state is the last number, in ``CELLS`` cells.
    """
    width = 1 / CELLS
    weight = min(max(loss * CELLS, 0.0), float(CELLS))  # how many cells are below the loss

    def step(lost: Weights, kept: Weights) -> list[float]:
        whole = floor(weight)
        values = [
            lost[i] if i < whole else kept[i] if i > whole
            else (weight - whole) * lost[i] + (1 - weight + whole) * kept[i]
            for i in range(CELLS)
        ]  # fmt: skip
        sums = [0.0]
        for value in values:
            sums.append(sums[-1] + value * width)

        def integral(x: float) -> float:
            cell = min(int(x * CELLS), CELLS - 1)
            return sums[cell] + (x - cell * width) * values[cell]

        spread = 1 - correlation
        result = []
        for i in range(CELLS):
            begin = correlation * (i + 0.5) * width
            result.append((integral(begin + spread) - integral(begin)) / spread)
        return result

    return Chain(CELLS, step, may_go_round=False)


def reordering(share: float, gap: int) -> Chain:
    """Return netem's ``reorder P gap N``: after N - 1 delayed packets, each goes ahead with P.

    "Lost" means here: sent ahead of the others. The state is how many were delayed since.
    """
    states = max(gap, 1)

    def step(lost: Weights, kept: Weights) -> list[float]:
        result = [kept[i + 1] for i in range(states - 1)]
        return [*result, share * lost[0] + (1 - share) * kept[states - 1]]

    return Chain(states, step)


def trials_needed(loss: float, floor_: float, error: float, sure: float = 1e-4) -> int:
    """Return how many packets show that a loss is more than ``floor_``, but for chance ``sure``."""
    trials = 100
    while trials < 10**7:
        # Some count near the low end of what the loss gives, and what it tells.
        count = max(0, ceil(trials * loss - 4 * (trials * loss * (1 - loss)) ** 0.5))
        while count and at_least(count, trials, loss) < 1 - sure:
            count -= 1
        if share_interval(count, trials, error)[0] > floor_:
            return trials
        trials = ceil(trials * 1.25)
    return trials
