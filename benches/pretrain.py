"""A pre-training step on CPU, 4 x 128 tokens at the published size, against a plain loop.

    python benches/pretrain.py GENOME.fa.gz

The peer is what most scripts do: padded, float32, the ALiBi bias added to every score, the head on
every token, torch's AdamW with its defaults; both with the same dropout, on one thread. Logits of
both are compared without dropout. A last case is the input pipeline: the time to draw such a batch
from a corpus of the genome.
"""

import copy
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from _harness import Bench, Peer, arguments, timed, within
from _reference import padded_states, random_batch

from dnabert2_fast import Corpus, PretrainConfig, Tokenizer, build_corpus
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.model.distributed import init_distributed
from dnabert2_fast.pretraining import PretrainingRun
from dnabert2_fast.pretraining.masking import Masker, key_of
from dnabert2_fast.pretraining.microbatch import (
    WINDOW_POSITIONS,
    Augmentation,
    BatchLayout,
    GlobalBatch,
    MicroBatch,
    global_batches,
    mask,
)
from dnabert2_fast.pretraining.run_folder import RunFolder

ROWS, LENGTH = 4, 128
WINDOW_BP = 640  # about 128 tokens
DRAWN = 500


class PlainLoop:
    """The peer, with a copy of our weights."""

    def __init__(self, model):
        self.model = copy.deepcopy(model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4)

    def logits(self, ids, dropout=0.0):
        mask = torch.ones_like(ids, dtype=torch.bool)
        return self.model.cls.predictions(padded_states(self.model.bert, ids, mask, False, dropout))

    def step(self, ids):
        """Mask, forward, backward, update."""
        config = self.model.config
        chosen, fate = torch.rand(ids.shape) < 0.15, torch.rand(ids.shape)
        labels = ids.masked_fill(~chosen, -100)
        inputs = torch.where(chosen & (fate < 0.8), 4, ids)
        others = torch.randint(5, config.vocab_size, ids.shape)
        inputs = torch.where(chosen & (fate >= 0.9), others, inputs)
        logits = self.logits(inputs, config.hidden_dropout_prob)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def main():
    given = arguments(__doc__).parse_args()
    bench = Bench("pretrain", given)
    with tempfile.TemporaryDirectory() as name, init_distributed("cpu") as context:
        folder = Path(name)
        tokenizer = Tokenizer.from_pretrained("dnabert2")
        settings = CorpusConfig(window_bp=WINDOW_BP)
        corpus = build_corpus([given.genome], folder / "c", tokenizer, settings)
        config = PretrainConfig(str(folder / "c"), str(folder / "run"), eval_tokens=1000)
        held_out = Corpus.open(folder / "c", "valid")
        run = PretrainingRun(config, RunFolder(folder / "run"), context, corpus, held_out)
        loop = PlainLoop(run.model)
        packed, ids, _ = random_batch([LENGTH] * ROWS)
        with torch.no_grad():
            own = run.model.eval()(packed).logits
            same = within(1e-4)(own, loop.logits(ids).flatten(0, 1))

        windows = torch.arange(ROWS)[:, None] * WINDOW_POSITIONS + torch.arange(LENGTH)
        state = {"epoch": 0, "position": 0}
        micro_batch = MicroBatch(packed, windows.flatten(), 0)
        whole = GlobalBatch([micro_batch], ids.numel(), ROWS * LENGTH**2, state)
        masker = Masker(tokenizer)
        bench.compare(
            f"a step of {ROWS} x {LENGTH} tokens, {run.dtype}",
            lambda: run.step(mask(whole, masker, key_of(0, run.done))),
            Peer(
                "padded float32 loop",
                lambda: loop.step(ids),
                lambda *_: f"logits in float32: {same}",  # steps have random masks
                "torch",
            ),
            goal=2,
        )

        layout, unchanged = BatchLayout(*[ROWS * LENGTH] * 2), Augmentation(corpus, 0.0, False, 0)
        batches = global_batches(corpus, unchanged, layout, seed=0)
        next(batches)
        draws = [timed(lambda: [next(batches) for _ in range(DRAWN)]).cpu for _ in range(3)]
        case = f"drawing a batch of {ROWS * LENGTH} tokens"
        bench.record(case, "CPU time", "ms", [1000 * seconds / DRAWN for seconds in draws])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
