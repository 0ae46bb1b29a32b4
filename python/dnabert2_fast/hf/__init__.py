"""The library in `transformers`: ``import dnabert2_fast.hf``, then the Auto classes know it.

Padded rectangles come in and go out; between the two nothing is padded. Folders of this library,
of the published model and of models fine-tuned from it are recognised by their ``config.json``
(`is_ours`), and no code out of a folder or from the hub is run for them, whatever
``trust_remote_code`` says: importing this module is the choice of its classes.
"""

from __future__ import annotations

from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
)

from dnabert2_fast.errors import TokenizerError
from dnabert2_fast.hf.config import HFDnabert2Config, is_ours
from dnabert2_fast.hf.models import (
    HFDnabert2ForMaskedLM,
    HFDnabert2ForSequenceClassification,
    HFDnabert2ForTokenClassification,
    HFDnabert2Model,
)
from dnabert2_fast.hf.tokenizer import HFDnabert2Tokenizer
from dnabert2_fast.model.config import MODEL_TYPE

__all__ = [
    "HFDnabert2Config",
    "HFDnabert2ForMaskedLM",
    "HFDnabert2ForSequenceClassification",
    "HFDnabert2ForTokenClassification",
    "HFDnabert2Model",
    "HFDnabert2Tokenizer",
]

# Arguments of the Auto classes' own; the classes behind them do not take these.
OF_AUTO = ("trust_remote_code", "code_revision", "use_fast", "tokenizer_type", "config")
HUB = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
)


def _register() -> None:
    AutoConfig.register(MODEL_TYPE, HFDnabert2Config, exist_ok=True)
    AutoModel.register(HFDnabert2Config, HFDnabert2Model, exist_ok=True)
    AutoModelForMaskedLM.register(HFDnabert2Config, HFDnabert2ForMaskedLM, exist_ok=True)
    AutoModelForSequenceClassification.register(
        HFDnabert2Config, HFDnabert2ForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        HFDnabert2Config, HFDnabert2ForTokenClassification, exist_ok=True
    )
    AutoTokenizer.register(
        HFDnabert2Config, slow_tokenizer_class=HFDnabert2Tokenizer, exist_ok=True
    )
    config_of, tokenizer_of = AutoConfig.from_pretrained, AutoTokenizer.from_pretrained

    # AutoConfig knows a config by its model_type alone, and the published one has none.
    def config_from_pretrained(name: Any, **kwargs: Any) -> Any:
        values, unused = PretrainedConfig.get_config_dict(name, **kwargs)
        if not is_ours(values):
            return config_of(name, **kwargs)
        for key in OF_AUTO:
            unused.pop(key, None)
        return HFDnabert2Config.from_dict(values, **unused)

    # AutoTokenizer goes by the class that tokenizer_config.json names, which in published folders
    # is the stock one.
    def tokenizer_from_pretrained(name: Any, *inputs: Any, **kwargs: Any) -> Any:
        if _is_model_of_ours(name, kwargs):
            own = {key: value for key, value in kwargs.items() if key not in OF_AUTO}
            try:
                return HFDnabert2Tokenizer.from_pretrained(name, *inputs, **own)
            except TokenizerError:
                pass  # the same architecture over another kind of tokenizer
        return tokenizer_of(name, *inputs, **kwargs)

    AutoConfig.from_pretrained = staticmethod(config_from_pretrained)
    AutoTokenizer.from_pretrained = staticmethod(tokenizer_from_pretrained)


def _is_model_of_ours(name: Any, kwargs: dict[str, Any]) -> bool:
    if kwargs.get("config") is not None:
        return isinstance(kwargs["config"], HFDnabert2Config)
    hub = {key: kwargs[key] for key in HUB if key in kwargs}
    try:
        return is_ours(PretrainedConfig.get_config_dict(name, **hub)[0])
    except OSError:  # no config beside the tokenizer
        return False


_register()
