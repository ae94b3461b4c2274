"""What training recorded, one row per epoch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """Columns of one entry per epoch; ``vars(history)`` gives them as a dict of lists.

    Attributes
    ----------
    train_loss : list of float
        Mean loss over the epoch's samples, each taken before its own step, so an average over
        the weights of the whole epoch; without weight decay.
    eval_loss : list of float or None
        Mean loss on ``eval_set`` after the epoch; None without one.
    accuracy : list of float or None
        Accuracy on ``eval_set`` after the epoch; None without one, and for a regression.
    learning_rate : list of float
        η of the epoch.
    samples_per_second : list of float
        Training speed; evaluation and compilation are not counted.
    seconds : list of float
        Training time of the epoch, likewise.
    method : list of str
        How the steps were computed: one method, or one per layer. `Trainer.summary` says why.
    """

    train_loss: list[float] = field(default_factory=list)
    eval_loss: list[float | None] = field(default_factory=list)
    accuracy: list[float | None] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    method: list[str] = field(default_factory=list)

    def append(
        self,
        train_loss: float,
        eval_loss: float | None,
        accuracy: float | None,
        learning_rate: float,
        samples_per_second: float,
        seconds: float,
        method: str,
    ) -> None:
        """Add an epoch."""
        self.train_loss.append(train_loss)
        self.eval_loss.append(eval_loss)
        self.accuracy.append(accuracy)
        self.learning_rate.append(learning_rate)
        self.samples_per_second.append(samples_per_second)
        self.seconds.append(seconds)
        self.method.append(method)

    def __len__(self) -> int:
        return len(self.train_loss)

    def row(self, epoch: int) -> str:
        """One epoch, counted from 0 (or from the end, if negative), as a line of text."""
        parts = [f"train loss {self.train_loss[epoch]:.4f}"]
        if (eval_loss := self.eval_loss[epoch]) is not None:
            parts.append(f"eval loss {eval_loss:.4f}")
        if (accuracy := self.accuracy[epoch]) is not None:
            parts.append(f"accuracy {accuracy:.2%}")
        parts.append(f"{self.samples_per_second[epoch]:,.0f} samples/s")
        parts.append(f"{self.seconds[epoch]:.2f} s")
        return f"epoch {range(len(self))[epoch] + 1:>3}  " + "  ".join(parts)

    def __str__(self) -> str:
        return "\n".join(self.row(epoch) for epoch in range(len(self))) or "no epochs yet"
