"""Counts of k-mers are scikit-learn's own, and the published baseline comes out."""

import csv

import numpy as np
import pandas as pd
import pytest
from helpers.dna import reverse_complement
from helpers.models import encoder, tok
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef, roc_auc_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import estimator_checks as checks

from dnabert2_fast.benchmark.kmers import KmerVectorizer
from dnabert2_fast.finetuning.labels import read_labelled
from dnabert2_fast.genomics import DnaEmbedder


def counted(texts, k):
    """Whatever window of k letters is made of A, C, G, T."""
    names = KmerVectorizer((k,)).get_feature_names_out().tolist()
    rows = np.zeros((len(texts), 4**k))
    for row, text in zip(rows, texts, strict=True):
        for i in range(len(text) - k + 1):
            if (kmer := text[i : i + k].upper()) in names:
                row[names.index(kmer)] += 1
    return rows


@given(st.lists(st.text("ACGTacgtNR", max_size=30), min_size=1, max_size=5), st.integers(1, 4))
def test_counts(texts, k):
    got = KmerVectorizer((k,), tfidf=False).fit_transform(texts).toarray()
    np.testing.assert_array_equal(got, counted(texts, k))
    both = KmerVectorizer((k,), tfidf=False, both_strands=True).fit_transform(texts).toarray()
    turned = [reverse_complement(text.upper().replace("R", "N")) for text in texts]
    np.testing.assert_array_equal(both, counted(texts, k) + counted(turned, k))


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(40)]
    words = {"analyzer": "char", "ngram_range": (1, 3), "lowercase": False}
    theirs = TfidfVectorizer(sublinear_tf=True, **words)
    want, fresh = theirs.fit_transform(texts[:30]).toarray(), theirs.transform(texts[30:]).toarray()
    ours = KmerVectorizer((1, 2, 3))
    got = ours.fit_transform(texts[:30]).toarray()
    order = [list(ours.get_feature_names_out()).index(n) for n in theirs.get_feature_names_out()]
    np.testing.assert_allclose(got[:, order], want, atol=1e-6)
    np.testing.assert_allclose(ours.transform(texts[30:]).toarray()[:, order], fresh, atol=1e-6)
    assert (got[:, sorted(set(range(84)) - set(order))] == 0).all()


def test_beside_embeddings_in_one_pipeline(tmp_path):
    encoder().save_pretrained(tmp_path)
    tok.save(tmp_path / "tokenizer.json")
    both = FeatureUnion([("kmers", KmerVectorizer((2,))), ("model", DnaEmbedder(str(tmp_path)))])
    pipeline = make_pipeline(both, LogisticRegression())
    texts, labels = ["ACACACAC", "GTTTGTTT"] * 4, [0, 1] * 4
    assert (pipeline.fit(texts, labels).predict(texts) == labels).all()
    assert both.transform(texts).shape == (8, 16 + 24)


def test_contract_and_bad_arguments():
    for check in (
        checks.check_no_attributes_set_in_init,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_valid_tag_types,
    ):
        check("KmerVectorizer", KmerVectorizer())
    for k in ((), (0,), (9,)):
        with pytest.raises(ValueError, match="lengths between 1 and 8"):
            KmerVectorizer(k).fit(["ACGT"])
    with pytest.raises(TypeError, match="a list of sequences"):
        KmerVectorizer().fit("ACGT")


def test_the_published_baseline(shared):
    """mouse/2, k-mers of length 1 to 6, C = 1."""
    with (shared / "paper" / "kmer_baseline.csv").open() as handle:
        want = next(row for row in csv.DictReader(handle) if row["dataset"] == "mouse/2")
    folder = shared / "data" / "gue" / "mouse" / "2"
    train, test = (read_labelled(next(folder.glob(f"{s}.csv*"))) for s in ("train", "test"))
    pipeline = make_pipeline(KmerVectorizer(), LogisticRegression(C=1, max_iter=1000))
    pipeline.fit(train.sequences, train.labels)
    area = roc_auc_score(test.labels, pipeline.predict_proba(test.sequences)[:, 1])
    assert abs(area - float(want["auc_k1to6"])) < 0.002
    score = matthews_corrcoef(test.labels, pipeline.predict(test.sequences))
    assert abs(score - float(want["mcc_k1to6"])) < 0.01


def test_a_column_transformer_passes_a_table_of_one_column():
    rows = ["ACGTT", "TTAAG"]
    wanted = KmerVectorizer().fit_transform(rows).toarray()
    frame = pd.DataFrame({"sequence": rows})
    mixed = ColumnTransformer([("k", KmerVectorizer(), ["sequence"])], sparse_threshold=0)
    np.testing.assert_array_equal(mixed.fit_transform(frame), wanted)
    vectors = DnaEmbedder("mini").fit(rows)
    np.testing.assert_array_equal(vectors.transform(frame), vectors.transform(rows))
    with pytest.raises(TypeError, match="Select one column"):
        KmerVectorizer().fit(pd.DataFrame({"a": rows, "b": rows}))
