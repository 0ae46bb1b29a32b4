"""The library in `transformers`: ``import dnabert2_fast.hf`` registers it with the Auto classes.

Inputs and outputs are padded rectangles; between the two nothing is padded. Folders of this
library, of the published model and of models fine-tuned from it are recognised by their
``config.json`` (`is_ours`). No code from a folder or the hub is run for them, whatever the value of
``trust_remote_code``: importing this module selects its classes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
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
from dnabert2_fast.hf.config import HFDnabert2Config
from dnabert2_fast.hf.models import (
    HFDnabert2ForMaskedLM,
    HFDnabert2ForSequenceClassification,
    HFDnabert2ForTokenClassification,
    HFDnabert2Model,
)
from dnabert2_fast.hf.tokenizer import HFDnabert2Tokenizer
from dnabert2_fast.model.adapter import base_of
from dnabert2_fast.model.config import MODEL_TYPE, is_ours
from dnabert2_fast.model.weights import PACKAGED, TOKENIZER_ALONE
from dnabert2_fast.tokenizer import PACKAGED as TOKENIZERS

__all__ = [
    "HFDnabert2Config",
    "HFDnabert2ForMaskedLM",
    "HFDnabert2ForSequenceClassification",
    "HFDnabert2ForTokenClassification",
    "HFDnabert2Model",
    "HFDnabert2Tokenizer",
]

# Arguments for the Auto classes only; the classes behind them do not accept these.
OF_AUTO = ("trust_remote_code", "code_revision", "use_fast", "tokenizer_type", "config")
OF_ADAPTER = ("adapter_config.json", "config.json")
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
    AutoTokenizer.register(
        HFDnabert2Config, slow_tokenizer_class=HFDnabert2Tokenizer, exist_ok=True
    )
    AutoConfig.from_pretrained = staticmethod(partial(_config, AutoConfig.from_pretrained))
    AutoTokenizer.from_pretrained = staticmethod(partial(_tokenizer, AutoTokenizer.from_pretrained))
    for auto, kind in (
        (AutoModel, HFDnabert2Model),
        (AutoModelForMaskedLM, HFDnabert2ForMaskedLM),
        (AutoModelForSequenceClassification, HFDnabert2ForSequenceClassification),
        (AutoModelForTokenClassification, HFDnabert2ForTokenClassification),
    ):
        auto.register(HFDnabert2Config, kind, exist_ok=True)
        auto.from_pretrained = staticmethod(partial(_model, auto.from_pretrained))


def _packaged(name: Any) -> Any:
    """Return the folder of a model in the package; any other name is unchanged."""
    if Path(name).exists():
        return name
    if str(name) in TOKENIZER_ALONE:
        raise OSError(f"{name}: {TOKENIZER_ALONE[str(name)]}")
    return str(PACKAGED[str(name)]) if str(name) in PACKAGED else name


def _config(otherwise: Callable[..., Any], name: Any, **kwargs: Any) -> Any:
    """``AutoConfig.from_pretrained``, which needs a model_type; published files lack it."""
    name = _packaged(name)
    own = {key: value for key, value in kwargs.items() if key not in OF_AUTO}
    values, unused = PretrainedConfig.get_config_dict(name, **own)
    if not is_ours(values):
        return otherwise(name, **kwargs)
    return HFDnabert2Config.from_dict(values, **unused)


def _model(otherwise: Callable[..., Any], name: Any, *inputs: Any, **kwargs: Any) -> Any:
    """``from_pretrained`` of a model, also with a BertConfig as on the published model's page."""
    folder = _packaged(name)
    if folder is not name:
        model = _model(otherwise, folder, *inputs, **kwargs)
        # The folder would be stored with adapters, which other installations cannot find.
        model.name_or_path = model.config._name_or_path = str(name)
        return model
    config = kwargs.get("config")
    if isinstance(config, PretrainedConfig) and not isinstance(config, HFDnabert2Config):
        values = config.to_dict()
        if is_ours(values):
            kwargs["config"] = HFDnabert2Config.from_dict(values)
    if config is None and all((Path(name) / file).exists() for file in OF_ADAPTER):
        # Labels and pooling are in the adapter's config; transformers would read the base model's.
        config = AutoConfig.from_pretrained(name)
        if isinstance(config, HFDnabert2Config):
            base = _packaged(base_of(Path(name)))
            model = otherwise(base, *inputs, **{**kwargs, "config": config})
            model.load_adapter(str(name))
            return model
    return otherwise(name, *inputs, **kwargs)


def _tokenizer(otherwise: Callable[..., Any], name: Any, *inputs: Any, **kwargs: Any) -> Any:
    """``AutoTokenizer.from_pretrained``, which uses the stock class for published folders."""
    own = {key: value for key, value in kwargs.items() if key not in OF_AUTO}
    if str(name) in TOKENIZER_ALONE and not Path(name).exists():
        own = {key: value for key, value in own.items() if key not in HUB}
        return HFDnabert2Tokenizer(str(TOKENIZERS[str(name)]), *inputs, **own)
    name = _packaged(name)
    if _is_model_of_ours(name, kwargs):
        # Another kind of tokenizer may be in a folder of the same architecture.
        with suppress(TokenizerError):
            return HFDnabert2Tokenizer.from_pretrained(name, *inputs, **own)
    return otherwise(name, *inputs, **kwargs)


def _is_model_of_ours(name: Any, kwargs: dict[str, Any]) -> bool:
    if kwargs.get("config") is not None:
        return is_ours(kwargs["config"].to_dict())
    hub = {key: kwargs[key] for key in HUB if key in kwargs}
    try:
        return is_ours(PretrainedConfig.get_config_dict(name, **hub)[0])
    except OSError:  # no config beside the tokenizer
        return False


_register()
