"""The models as a module of sentence-transformers, with the pooling of the guide."""

import numpy as np
import pytest
import torch

from dnabert2_fast import Dnabert2Config, Dnabert2Model, Tokenizer, embed

library = pytest.importorskip("sentence_transformers")
import dnabert2_fast.hf  # noqa: E402, F401 (registers with the Auto classes)

TEXTS = ["ACGTAGCATCGGATCTATC" * 9, "TTGACAgattNNGATT", "GATTACA" * 30, "A", "ACGGTCA" * 900]


class RealTokens(torch.nn.Module):
    """Leaves [CLS], [SEP] and the like out of the mask that pooling goes by."""

    def __init__(self, special_ids):
        super().__init__()
        self.register_buffer("special", torch.tensor(sorted(special_ids)))

    def forward(self, features):
        real = ~torch.isin(features["input_ids"], self.special)
        features["attention_mask"] = features["attention_mask"] * real
        return features


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(1)
    model = Dnabert2Model(
        Dnabert2Config(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
        )
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    Tokenizer.from_pretrained("dnabert2").save(folder / "tokenizer.json")
    return str(folder)


def opened(folder, *between, pooling):
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    encoder = Transformer(folder, processor_kwargs={"case": "upper"})
    encoder.max_seq_length = 1_000_000
    modules = [encoder, *between, Pooling(24, pooling)]
    return library.SentenceTransformer(modules=modules, device="cpu")


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_vectors_are_those_of_embed(folder, pooling):
    tokenizer = Tokenizer.from_pretrained(folder)
    model = opened(folder, RealTokens(tokenizer.special_ids), pooling=pooling)
    found = model.encode(TEXTS, batch_size=2, show_progress_bar=False)
    own = Dnabert2Model.from_pretrained(folder)
    wanted = embed(TEXTS, own, tokenizer, pooling=pooling)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_without_the_module_special_tokens_are_pooled_too(folder):
    tokenizer = Tokenizer.from_pretrained(folder)
    found = opened(folder, pooling="mean").encode(TEXTS, show_progress_bar=False)
    own = Dnabert2Model.from_pretrained(folder)
    assert np.abs(found - embed(TEXTS, own, tokenizer)).max() > 0.01
    cls = opened(folder, pooling="cls").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(
        cls, embed(TEXTS, own, tokenizer, pooling="cls"), rtol=1e-5, atol=1e-5
    )
